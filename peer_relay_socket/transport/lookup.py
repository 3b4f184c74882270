"""Bootstrap places by DNS: which relays a domain names.

Lives here: asking, and what the records mean. May not live here: when to ask again (engine), dialling.

Law: a lookup ends within LOOKUP_TIME, with at most LOOKUP_URLS URLs or with one line that says why there are none.
Records are the domain's word, as a bootstrap URL is the program's; one that makes no sense is left out.

    _peer-relay._tcp.DOMAIN    SRV    PRIORITY WEIGHT PORT HOST       ws://HOST:PORT
    _peer-relays._tcp.DOMAIN   SRV    PRIORITY WEIGHT PORT HOST       wss://HOST:PORT
    _peer-relay._tcp.DOMAIN    TXT    "peer-relay=URL", "peer-relay=URL#ID"
    DOMAIN                     TXT    the same, among whatever else stands there

A TXT record with the URL of an SRV record and an id pins it: only the peer with that id is taken there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import random
from typing import Final

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.SRV import SRV

from ..limits import LOOKUP_TIME, LOOKUP_URLS
from ..setting_values import LOOKUP, bootstrap_url
from .link import LinkError

_PLAIN: Final = "_peer-relay._tcp"
_TLS: Final = "_peer-relays._tcp"
_KEYWORD: Final = "peer-relay="
_BACKEND: Final = dns.asyncbackend.get_backend("asyncio")
"""dnspython loads it, and each kind of record, when it is first used: too late where a program has a dns.py of its own
(dependencies.py)."""
for _kind in ("SRV", "TXT", "CNAME", "SOA", "OPT"):
    dns.rdata.get_rdata_class(  # type: ignore[no-untyped-call]
        dns.rdataclass.IN, dns.rdatatype.from_text(_kind)
    )


async def lookup(place: str, resolver: dns.asyncresolver.Resolver | None = None) -> list[str]:
    """Return the bootstrap URLs that the domain of `place` (dns:DOMAIN) names, best first.

    Args: resolver: None = the system's, as /etc/resolv.conf has it.
    Raises: LinkError with one line.
    """
    domain = place.removeprefix(LOOKUP)
    try:
        asked = dns.asyncresolver.Resolver() if resolver is None else resolver
    except (dns.exception.DNSException, OSError) as error:
        raise LinkError(f"no name server: {_one_line(error)}") from None
    questions = [(f"{_PLAIN}.{domain}", "SRV"), (f"{_TLS}.{domain}", "SRV")]
    questions += [(f"{_PLAIN}.{domain}", "TXT"), (domain, "TXT")]
    answers = await asyncio.gather(*(_ask(asked, *question) for question in questions))
    problems = [answer for answer in answers if isinstance(answer, str)]
    if len(problems) == len(answers):
        raise LinkError(problems[0])
    plain, tls, *texts = ([] if isinstance(answer, str) else answer for answer in answers)
    urls = relays(
        [record for record in plain if isinstance(record, SRV)],
        [record for record in tls if isinstance(record, SRV)],
        [_text(record) for row in texts for record in row if isinstance(record, TXT)],
    )
    if not urls:
        said = f"; {problems[0]}" if problems else ""
        raise LinkError(f"names no relay: no SRV record at {_PLAIN} or {_TLS}, no TXT record {_KEYWORD}URL{said}")
    return urls


async def _ask(resolver: dns.asyncresolver.Resolver, name: str, kind: str) -> list[dns.rdata.Rdata] | str:
    """Return the records of one kind at a name, [] where there are none, or in one line why they are not known."""
    late = f"no name server answers within {LOOKUP_TIME:g} s"
    try:
        async with asyncio.timeout(LOOKUP_TIME):
            answer = await resolver.resolve(
                dns.name.from_text(name), kind, raise_on_no_answer=False, lifetime=LOOKUP_TIME, backend=_BACKEND
            )
    except dns.resolver.NXDOMAIN:
        return []
    except (TimeoutError, dns.resolver.LifetimeTimeout):
        return late
    except dns.resolver.NoNameservers:
        return "the name servers refuse, or fail"
    except (dns.exception.DNSException, OSError) as error:
        return _one_line(error)
    return [] if answer.rrset is None else list(answer.rrset)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _text(record: TXT) -> str:
    return b"".join(record.strings).decode("ascii", "replace")


def relays(plain: Sequence[SRV], tls: Sequence[SRV], texts: Sequence[str]) -> list[str]:
    """Return the bootstrap URLs that records stand for, at most LOOKUP_URLS: those of SRV records by priority, and by
    chance and weight where that is equal (RFC 2782), then those of TXT records alone."""
    found: dict[str, str] = {}
    services = [("ws", record) for record in plain] + [("wss", record) for record in tls]
    for scheme, record in sorted(services, key=lambda service: (service[1].priority, _draw(service[1].weight))):
        host = record.target.to_text(omit_final_dot=True)
        if host not in ("", "."):  # "." says that there is no such service
            _add(found, f"{scheme}://{host}:{record.port}")
    for text in texts:
        if text.startswith(_KEYWORD):
            _add(found, text.removeprefix(_KEYWORD))
    return list(found.values())[:LOOKUP_URLS]


def _draw(weight: int) -> float:
    """Return a number whose order among others is by chance, as weights have it (Efraimidis and Spirakis 2006)."""
    return -float(random() ** (1 / (weight or 0.1)))


def _add(found: dict[str, str], text: str) -> None:
    try:
        url = bootstrap_url(text)
    except ValueError:
        return
    bare, pin, _ = url.partition("#")
    if pin or bare not in found:
        found[bare] = url
