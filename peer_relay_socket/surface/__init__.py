"""What callers hold: blocking objects that look like the standard library. No asyncio here."""
