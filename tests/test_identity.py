"""Keys, ids and key files."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from peer_relay_socket.errors import IdentityError, PeerRelayError
from peer_relay_socket.identity import Identity, peer_id_of, verify


def pem(key: Ed25519PrivateKey | x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refusal(path: Path) -> IdentityError:
    with pytest.raises(IdentityError) as caught:
        Identity.load(str(path))
    assert caught.value.filename == str(path)
    assert "\n" not in str(caught.value)
    return caught.value


def test_id_commits_to_the_key_as_published() -> None:
    identity = Identity.from_seed(bytes(range(32)))
    assert identity.public_key.hex() == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert identity.peer_id.hex() == "b20191a96247c7b46e9d4b6875ebd0c1b502bf2a"
    assert identity.peer_id == peer_id_of(identity.public_key)
    assert identity.peer_id != Identity.from_seed(bytes(32)).peer_id


def test_signature_is_the_keys_and_of_the_message() -> None:
    one, other = Identity.from_seed(b"1" * 32), Identity.from_seed(b"2" * 32)
    signature = one.sign(b"message")
    assert verify(one.public_key, signature, b"message")
    assert not verify(one.public_key, signature, b"massage")
    assert not verify(other.public_key, signature, b"message")
    assert not verify(one.public_key, signature[:-1], b"message")
    assert not verify(b"not a key", signature, b"message")
    assert not verify(bytes(32), signature, b"message")


def test_a_fresh_identity_is_its_own_and_not_pinned() -> None:
    one, other = Identity.generate(), Identity.generate()
    assert one.peer_id != other.peer_id
    assert not one.pinned


def test_a_key_file_is_made_once_private_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "key"
    previous = os.umask(0)
    try:
        made = Identity.load_or_create(str(path))
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.pinned
    assert Identity.load_or_create(str(path)).peer_id == Identity.load(str(path)).peer_id == made.peer_id
    assert os.listdir(tmp_path) == ["key"]


def test_a_key_file_in_the_working_directory_needs_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Identity.load_or_create("key").peer_id == Identity.load("./key").peer_id


def test_processes_that_race_end_with_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    code = (
        "import sys; from peer_relay_socket.identity import Identity; sys.stdin.readline();"
        "print(Identity.load_or_create(sys.argv[1]).peer_id.hex())"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    ids = {racer.communicate(timeout=60)[0] for racer in racers}
    assert ids == {Identity.load(str(path)).peer_id.hex().encode() + b"\n"}
    assert os.listdir(tmp_path) == ["key"]


def test_the_first_of_two_keys_stays_where_links_exist(tmp_path: Path) -> None:
    """The race itself, step by step: somebody makes the file between our look and our link."""
    path = tmp_path / "key"
    write(path, pem(Ed25519PrivateKey.from_private_bytes(b"f" * 32)))
    Identity._create(str(path))
    assert Identity.load(str(path)).peer_id == Identity.from_seed(b"f" * 32).peer_id
    assert os.listdir(tmp_path) == ["key"]


def test_a_file_system_without_hard_links_gets_the_file_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "key"
    made = Identity.load_or_create(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Identity.load(str(path)).peer_id == made.peer_id
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610, 0o601])
def test_a_key_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    error = refusal(write(tmp_path / "key", pem(Ed25519PrivateKey.generate()), mode))
    assert (error.errno, error.strerror) == (errno.EACCES, "key file: others can read it; chmod 600 it")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_file_that_only_its_owner_reads_is_taken(tmp_path: Path, mode: int) -> None:
    assert Identity.load(str(write(tmp_path / "key", pem(Ed25519PrivateKey.from_private_bytes(b"f" * 32)), mode)))


UNKNOWN_ALGORITHM = (
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2V7BCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
    b"-----END PRIVATE KEY-----\n"
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        bytes(100_000),
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        pem(Ed25519PrivateKey.from_private_bytes(b"f" * 32))[:-40],
        pem(Ed25519PrivateKey.from_private_bytes(b"f" * 32), b"a password"),
        pem(x25519.X25519PrivateKey.from_private_bytes(b"f" * 32)),
        pem(ec.generate_private_key(ec.SECP256R1())),
        UNKNOWN_ALGORITHM,
    ],
    ids=["empty", "garbage", "zeros", "hollow", "cut", "encrypted", "X25519", "P-256", "unknown"],
)
def test_a_file_that_is_no_ed25519_key_is_refused(tmp_path: Path, data: bytes) -> None:
    error = refusal(write(tmp_path / "key", data))
    assert (error.errno, error.strerror) == (errno.EINVAL, "key file: not an unencrypted Ed25519 key in PEM")
    assert write(tmp_path / "key", data).read_bytes() == data  # load_or_create never replaces what is there
    with pytest.raises(IdentityError):
        Identity.load_or_create(str(tmp_path / "key"))
    assert (tmp_path / "key").read_bytes() == data


def test_what_the_file_system_refuses_keeps_its_errno(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent").errno == errno.ENOENT
    assert refusal(tmp_path).errno == errno.EISDIR
    with pytest.raises(IdentityError) as caught:
        Identity.load_or_create(str(tmp_path / "no folder" / "key"))
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(IdentityError) as caught:
        Identity.load_or_create(str(write(tmp_path / "file", b"") / "key"))
    assert caught.value.errno == errno.ENOTDIR
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(IdentityError) as caught:
        Identity.load_or_create(str(tmp_path / "link"))
    assert caught.value.errno == errno.ENOENT
    assert issubclass(IdentityError, PeerRelayError)
    assert issubclass(IdentityError, OSError)


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user who is not root, who writes everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(IdentityError) as caught:
        Identity.load_or_create(str(tmp_path / "key"))
    assert caught.value.errno == errno.EACCES
    tmp_path.chmod(0o700)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IdentityError) as caught:
        Identity.load_or_create(str(tmp_path / "key"))
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "key",
    [
        "00" * 32,
        "01" + "00" * 31,
        "00" * 31 + "80",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
    ],
)
def test_keys_under_which_anybody_can_sign_are_refused(key: str) -> None:
    public_key = bytes.fromhex(key)
    for signature in (bytes(64), public_key + bytes(32), b"\1" + bytes(63)):
        assert not any(verify(public_key, signature, b"%d" % number) for number in range(64))
