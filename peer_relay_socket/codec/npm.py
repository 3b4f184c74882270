"""The wire of npm peer-relay 0.0.2: JSON text <-> records. Pure functions; the other wire is packet.py.

Law: nothing here raises anything but `PacketError`, nothing is used before its size and depth were checked, and nothing
is written that would end a node process (null, numeric nonces, buffers in base64, URLs that are none, NaN).

Each end of a channel sends its id first, then one envelope per text message::

    {"type":"Buffer","data":[20 numbers]}                        also taken: "<40 hex digits>", [20 numbers]
    {"to":ID,"from":ID,"path":[ID, ...],"nonce":"<digits>","data":{"type":TYPE,"data":DATA}}

    TYPE              DATA
    user              any JSON but null; a datagram is {"buffer":BUFFER,"address":ID,"port":the sender's port}
    findPeers         ID: "which peers are near?"
    foundPeers        [ID, ...]
    handshake-offer   absent: "may I connect?"
    handshake-answer  {"ws":URL or null,"wrtc":bool}
    signal            {"type":"offer" or "answer","sdp":text} or {"candidate":{"candidate":text, ...}}
    (any other)       passed on, not understood

An ID is written as 40 hex digits, and taken in the three forms above. Where an envelope crosses our own overlay it is
the body of a LEGACY packet, whose header has `to` and `from`::

    form (1: 0 JSON, 1 datagram) || length (1) || nonce || count (1) || path (20 each) || content

    content of form 0: {"type":TYPE,"data":DATA}      of form 1: the sender's port (2) || the datagram's bytes
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from ..address import ID_BYTES, PeerId
from ..errors import PacketError
from ..limits import MAX_BODY, MAX_BUNDLE, MAX_DATAGRAM, NPM_DEPTH, NPM_FOUND, NPM_NONCE, NPM_PATH, URL_MAX

USER: Final = "user"
FIND_PEERS: Final = "findPeers"
FOUND_PEERS: Final = "foundPeers"
OFFER: Final = "handshake-offer"
ANSWER: Final = "handshake-answer"
SIGNAL: Final = "signal"

_MAX_TYPE: Final = 64
"""Characters in the name of a type that we do not know."""
_JSON_FORM: Final = 0
_DATAGRAM_FORM: Final = 1
_DATAGRAM_KEYS: Final = {"buffer", "address", "port"}
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(character for character in range(256) if character not in b"[]{}")
_NUMBERS: Final = [str(number) for number in range(256)]


class Datagram(NamedTuple):
    """What a PeerRelay.Socket sends; the destination port is not on this wire."""

    port: int
    """The sender's, 0..65535."""
    data: bytes


class Answer(NamedTuple):
    """The answer to an offer: where its sender can be dialled."""

    url: str | None
    wrtc: bool


class Envelope(NamedTuple):
    """One message and its path so far."""

    to: PeerId
    sender: PeerId
    path: tuple[PeerId, ...]
    """The peers that sent it on, oldest first; npm's may be in it twice in a row."""
    nonce: str
    kind: str
    data: Any
    """user: a Datagram or JSON; findPeers: an id; foundPeers: a list of ids; handshake-answer: an Answer; else JSON."""


# --- JSON --------------------------------------------------------------------------------------------------------


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_json(text: str) -> Any:
    """Return what `text` means, after looking at its size and depth. Linear in its length.

    Raises: PacketError when it is no JSON, longer than MAX_BUNDLE or deeper than NPM_DEPTH.
    """
    if len(text) > MAX_BUNDLE:
        raise PacketError(f"{len(text)} characters of JSON")
    if text.count("[") + text.count("{") > NPM_DEPTH and _is_deeper(text, NPM_DEPTH):
        raise PacketError("JSON nested too deeply")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise PacketError("not JSON") from None


def _is_deeper(text: str, most: int) -> bool:
    """Return whether brackets outside strings are nested more than `most` deep; text that is no JSON may be called so.

    Every step is one pass of C over what is left: a loop in Python over 270,000 brackets took 100 ms.
    """
    outside = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    brackets = outside.encode("ascii", "ignore").translate(_SQUARE, _NO_BRACKETS)
    for _ in range(most):
        before, brackets = len(brackets), brackets.replace(b"[]", b"")
        if not brackets:
            return False
        if len(brackets) == before:  # not balanced
            break
    return True


def write_json(value: object) -> str:
    """Return `value` as ASCII.

    Raises: PacketError when JSON has no word for it (NaN, an infinity).
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        raise PacketError("JSON has no word for this") from None


# --- ids and buffers ---------------------------------------------------------------------------------------------


def _buffer(value: Any) -> bytes:
    """Return the bytes of a Buffer as JSON.stringify writes it, or of an array of numbers."""
    numbers = value.get("data") if isinstance(value, dict) and value.get("type") == "Buffer" else value
    if not isinstance(numbers, list):
        raise PacketError("not a Buffer")
    try:
        return bytes(numbers)
    except (ValueError, TypeError):
        raise PacketError("a Buffer of something other than bytes") from None


def _id(value: Any) -> PeerId:
    if isinstance(value, str):
        try:
            peer_id = bytes.fromhex(value) if len(value) == 2 * ID_BYTES and value.isalnum() else b""
        except ValueError:
            peer_id = b""
    else:
        peer_id = _buffer(value)
    if len(peer_id) != ID_BYTES:
        raise PacketError("not a peer id")
    return peer_id


def _numbers(data: bytes) -> str:
    return '{"type":"Buffer","data":[' + ",".join(map(_NUMBERS.__getitem__, data)) + "]}"


def id_text(peer_id: PeerId) -> str:
    """Return the first message of a channel."""
    return _numbers(peer_id)


def read_id(text: str) -> PeerId:
    """Return the id in the first message of a channel.

    Raises: PacketError.
    """
    return _id(read_json(text))


# --- envelopes ---------------------------------------------------------------------------------------------------


def read_envelope(text: str) -> Envelope:
    """Return what one later message of a channel holds.

    Raises: PacketError also for what would end a node process that got it from us.
    """
    value = read_json(text)
    if not isinstance(value, dict):
        raise PacketError("not an envelope")
    path = value.get("path")
    if not isinstance(path, list) or len(path) > NPM_PATH:
        raise PacketError("an envelope without a path, or with an endless one")
    kind, data = _content(value.get("data"))
    return Envelope(
        _id(value.get("to")), _id(value.get("from")), tuple(map(_id, path)), _nonce(value.get("nonce")), kind, data
    )


def _nonce(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NPM_NONCE or not (value.isascii() and value.isalnum()):
        raise PacketError("not a nonce")
    return value


def _content(content: Any) -> tuple[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
        raise PacketError("an envelope without a type")
    kind, data = content["type"], content.get("data")
    if len(kind) > _MAX_TYPE:
        raise PacketError("the name of a type is too long")
    if kind == USER:
        if data is None:
            raise PacketError("a message of nothing")
        return kind, _datagram(data)
    if kind == FIND_PEERS:
        return kind, _id(data)
    if kind == FOUND_PEERS:
        if not isinstance(data, list) or len(data) > NPM_FOUND:
            raise PacketError("not a list of peers, or too long a one")
        return kind, [_id(each) for each in data]
    if kind == OFFER:
        return kind, None
    if kind == ANSWER:
        return kind, _answer(data)
    if kind == SIGNAL and not _is_signal(data):
        raise PacketError("not a signal")
    return kind, data


def _is_signal(data: Any) -> bool:
    """Return whether `data` has one of simple-peer's two forms; others end its connection, or throw in a browser."""
    if not isinstance(data, dict):
        return False
    candidate = data.get("candidate")
    if candidate is None:
        return data.get("type") in ("offer", "answer") and isinstance(data.get("sdp"), str)
    return isinstance(candidate, dict) and isinstance(candidate.get("candidate"), str) and "sdp" not in data


def _datagram(data: Any) -> Any:
    """Return user data as a Datagram if it is one, else as it is."""
    if not isinstance(data, dict) or data.keys() != _DATAGRAM_KEYS:
        return data
    port, buffer = data["port"], data["buffer"]
    if type(port) is not int or not 0 <= port <= 65535:
        return data
    payload = buffer.encode("utf-8", "replace") if isinstance(buffer, str) else _buffer(buffer)
    if len(payload) > MAX_DATAGRAM:
        raise PacketError("a datagram longer than UDP's")
    return Datagram(port, payload)


def _answer(data: Any) -> Answer:
    if not isinstance(data, dict):
        raise PacketError("an answer without data")
    url = data.get("ws") or None
    if url is not None and not is_url(url):
        raise PacketError("an answer with a URL that is none")
    return Answer(url, data.get("wrtc") is True)


def is_url(url: Any) -> bool:
    """Return whether node's WebSocket takes `url` without throwing."""
    if not isinstance(url, str) or len(url) > URL_MAX or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _content_text(kind: str, data: Any, sender: PeerId) -> str:
    if isinstance(data, Datagram):
        return (
            f'{{"type":"user","data":{{"buffer":{_numbers(data.data)},"address":"{sender.hex()}","port":{data.port}}}}}'
        )
    if kind == OFFER:
        return '{"type":"handshake-offer"}'
    if kind == FIND_PEERS:
        data = data.hex()
    elif kind == FOUND_PEERS:
        data = [peer_id.hex() for peer_id in data]
    elif kind == ANSWER:
        data = {"ws": data.url, "wrtc": data.wrtc}
    return write_json({"type": kind, "data": data})


def envelope_text(envelope: Envelope) -> str:
    """Return one message of a channel, at most MAX_BUNDLE characters.

    Raises: PacketError when it would be longer, or JSON has no word for its data.
    """
    to, sender, path, nonce, kind, data = envelope
    hops = ",".join(f'"{hop.hex()}"' for hop in path)
    content = _content_text(kind, data, sender)
    text = f'{{"to":"{to.hex()}","from":"{sender.hex()}","path":[{hops}],"nonce":"{nonce}","data":{content}}}'
    if len(text) > MAX_BUNDLE:
        raise PacketError(f"{len(text)} characters of JSON")
    return text


# --- across the overlay ------------------------------------------------------------------------------------------


def pack(envelope: Envelope) -> bytes:
    """Return the body of a LEGACY packet.

    Raises: PacketError when it would be longer than MAX_BODY.
    """
    data = envelope.data
    if isinstance(data, Datagram):
        form, content = _DATAGRAM_FORM, data.port.to_bytes(2) + data.data
    else:
        form, content = _JSON_FORM, _content_text(envelope.kind, data, envelope.sender).encode()
    nonce, path = envelope.nonce.encode(), envelope.path
    body = b"".join((bytes((form, len(nonce))), nonce, bytes((len(path),)), *path, content))
    if len(body) > MAX_BODY:
        raise PacketError(f"an envelope of {len(body)} bytes")
    return body


def unpack(to: PeerId, sender: PeerId, body: bytes) -> Envelope:
    """Return the envelope that a LEGACY packet holds.

    Raises: PacketError as `read_envelope`.
    """
    if len(body) < 3 or len(body) < 3 + body[1]:
        raise PacketError("envelope cut short")
    start = 2 + body[1]
    hops, first = body[start], start + 1
    end = first + hops * ID_BYTES
    if hops > NPM_PATH or len(body) < end:
        raise PacketError("the path of an envelope is cut short, or endless")
    path = tuple(body[at : at + ID_BYTES] for at in range(first, end, ID_BYTES))
    nonce = _nonce(body[2:start].decode("ascii", "replace"))
    content = body[end:]
    if body[0] == _DATAGRAM_FORM:
        if not 2 <= len(content) <= MAX_DATAGRAM + 2:
            raise PacketError("datagram cut short, or longer than UDP's")
        return Envelope(to, sender, path, nonce, USER, Datagram(int.from_bytes(content[:2]), content[2:]))
    if body[0] != _JSON_FORM:
        raise PacketError("no such form of envelope")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise PacketError("not UTF-8") from None
    return Envelope(to, sender, path, nonce, *_content(read_json(text)))
