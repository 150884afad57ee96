"""The signature of a bundle: `manifest.sig` over `manifest.json`, and through it over every file that it lists.

OpenSSF model-signing makes and checks it, with keys on elliptic curves that lie in files; no network is asked. Without
edgeskin: `model_signing verify key BUNDLE/manifest.json --signature BUNDLE/manifest.sig --public_key PUBLIC.pem`.
"""

import base64
import binascii
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from edgeskin import files, optional
from edgeskin.errors import BundleError, EdgeskinError

NAME = "manifest.sig"
PASSWORD = "EDGESKIN_KEY_PASSWORD"  # noqa: S105  (the name of a variable)
"""Names the variable with the password of a private key."""
TRUSTED_KEY = "EDGESKIN_TRUSTED_KEY"
"""Names the public key, a PEM file, without whose signature no bundle is opened on this machine."""
PRIVATE, PUBLIC = "edgeskin-private.pem", "edgeskin-public.pem"
"""The files of a new pair of keys."""

_SHOWN = 16
"""Digits of a key's hash in a sentence."""


def read(manifest: Path) -> str | None:
    """The key that signed a manifest: the SHA-256 of its public half, None where nobody signed.

    No key is needed, so this tells what the signature claims, and that it is of this manifest; not that it is genuine.
    All of the file must read as `sign` writes it. The name of the key and the signature proper, between them a hundred
    bytes or two, can be checked with the key alone.
    Raises: BundleError where it is damaged, or of another manifest.
    """
    path = manifest.with_name(NAME)
    if not path.exists() and not path.is_symlink():
        return None
    try:
        if not path.is_file():
            raise ValueError("it is no regular file")
        text = path.read_bytes().decode()
        value = json.loads(text)
        payload = _decoded(value["dsseEnvelope"]["payload"]).decode()
        statement = json.loads(payload)
        key, proper = value["verificationMaterial"]["publicKey"]["hint"], value["dsseEnvelope"]["signatures"][0]["sig"]
        signed = statement["predicate"]["resources"][0]["digest"]
        statement["predicate"]["serialization"]["ignore_paths"].sort()
        _decoded(proper)
        if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in (key, signed)):
            raise ValueError("it names no key or no manifest")
        if value != _envelope(value["dsseEnvelope"]["payload"], key, proper):
            raise ValueError("it is another kind of envelope")
        if statement != _statement(manifest.name, signed):
            raise ValueError("it states something else than the hash of a manifest")
        if text != json.dumps(value, separators=(",", ":")) or payload != json.dumps(json.loads(payload), indent=2):
            raise ValueError("it is spelt in another way")
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path}: is no signature that `edgeskin sign` wrote. {_AGAIN}") from error
    if signed != files.sha256(manifest):
        raise BundleError(f"{path}: signs another {manifest.name} than the one beside it. {_AGAIN}")
    return str(key)


_AGAIN = "Take a fresh copy of the bundle, or remove the signature and sign again"


def _statement(name: str, signed: str) -> dict[str, object]:
    """What model-signing 1.1 states of one file of this name and hash; it writes the ignored paths in any order."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": hashlib.sha256(bytes.fromhex(signed)).hexdigest()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": [{"algorithm": "sha256", "digest": signed, "name": "."}],
            "serialization": {
                "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore"],
                "hash_type": "sha256",
                "method": "files",
                "allow_symlinks": False,
            },
        },
    }


def _envelope(payload: str, key: str, proper: str) -> dict[str, object]:
    """What it puts around a statement. proper: the signature, in base64."""
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": key}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": payload,
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": proper, "keyid": ""}],
        },
    }


def _decoded(text: str) -> bytes:
    """Base64 in its one canonical form: model-signing would read over letters that mean nothing."""
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:
        raise binascii.Error("not canonical")
    return content


def check(manifest: Path, public_key: Path) -> str:
    """Demand that a manifest is signed by the owner of a public key (PEM); the key's hash.

    Raises: BundleError where it is not; EdgeskinError where the file is no such key; MissingDependencyError.
    """
    verifying, own = _library("verifying"), _sha256_of(public_key)
    folder = manifest.parent
    claimed = read(manifest)
    if claimed is None:
        raise BundleError(
            f"{folder}: is not signed, and a signature by the key {public_key} is demanded. "
            f"Ask its owner for it: edgeskin sign {folder} --key PRIVATE"
        )
    if claimed != own:
        raise BundleError(
            f"{folder}: is signed by the key {claimed[:_SHOWN]}…, not by {own[:_SHOWN]}… ({public_key}). "
            "Use it only if you trust that key, and then name it"
        )
    genuine = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    bad: type[Exception] = optional.require("cryptography.exceptions").InvalidSignature
    try:
        genuine.verify(manifest, manifest.with_name(NAME))
    except (bad, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{manifest.with_name(NAME)}: is not a signature of this bundle by the key {public_key}. Do not use the "
            "bundle; take a fresh copy from whoever signed it"
        ) from error
    return own


def trusted() -> Path | None:
    """The public key that this machine trusts, None where it trusts none in particular."""
    name = os.environ.get(TRUSTED_KEY)
    return Path(name) if name else None


def demand_trusted(manifest: Path) -> None:
    """Refuse a bad signature always, and where the machine trusts a key whatever that key did not sign.

    Raises: as `read` and `check`.
    """
    key = trusted()
    if key is None:
        read(manifest)
    else:
        check(manifest, key)


def doubts(manifest: Path) -> Iterator[str]:
    """What to know before a bundle runs where no key is trusted, in one line; nothing where one is.

    Raises: BundleError as `read`.
    """
    if trusted() is not None:
        return
    key = read(manifest)
    if key is None:
        yield f"warning: {manifest.parent}: is not signed, so nobody answers for it"
    else:
        yield (
            f"warning: {manifest.parent}: is signed by the key {key[:_SHOWN]}…, which was not checked: that "
            f"takes its public half. Name that in {TRUSTED_KEY}"
        )


def write(manifest: Path, private_key: Path, password: str | None = None) -> str:
    """Sign a manifest with a private key (PEM, on P-256, P-384 or P-521); the hash of its public half.

    password: of the key, where it has one.

    Raises: BundleError where somebody signed already; EdgeskinError where the file is no such key, or the password is
    wrong or missing; MissingDependencyError.
    """
    signing = _library("signing")
    if read(manifest) is not None:
        raise BundleError(f"{manifest.with_name(NAME)}: stands there already. Remove it to sign again")
    try:
        signer = signing.Config().use_elliptic_key_signer(
            private_key=private_key, password=None if password is None else password.encode()
        )
    except OSError as error:
        raise EdgeskinError(f"{private_key}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, _unsupported()) as error:
        raise EdgeskinError(f"{private_key}: {_no_key(private_key.read_bytes(), password, error)}") from error
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as temporary:
        made = Path(temporary) / NAME
        signer.sign(manifest, made)
        files.write_bytes(manifest.with_name(NAME), made.read_bytes())
    key = read(manifest)
    assert key is not None
    return key


def _no_key(pem: bytes, password: str | None, error: Exception) -> str:
    """Why a file cannot sign, and what to do."""
    if b"PUBLIC KEY" in pem:
        return "is a public key. Give the private one; the public one is for edgeskin verify"
    if b"ENCRYPTED" in pem:
        if password is None:
            return f"has a password. Set {PASSWORD} to it"
        return f"the password in {PASSWORD} does not open it"
    return (
        f"is no private key in PEM on P-256, P-384 or P-521 without a password ({error}). Make one: edgeskin sign "
        "--make-key DIR"
    )


def make_keys(folder: Path, password: str | None = None) -> tuple[Path, Path]:
    """Make a pair of keys on P-256: the private one, for its owner alone to read, and the public one.

    password: encrypts the private one. Raises: EdgeskinError where one stands there already or cannot be written;
    MissingDependencyError.
    """
    _library("signing")
    serialization, ec = (optional.require(f"cryptography.hazmat.primitives.{name}") for name in _PRIMITIVES)
    private, public = folder / PRIVATE, folder / PUBLIC
    taken = next((path for path in (private, public) if path.exists()), None)
    if taken is not None:
        raise EdgeskinError(f"{taken}: stands there already, and a key is never replaced. Choose another folder")
    key = ec.generate_private_key(ec.SECP256R1())
    sealed = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password.encode())
    )
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(key.private_bytes(pem, kind, sealed))
    except OSError as error:
        raise EdgeskinError(f"{private}: cannot be written: {error.strerror}") from error
    try:
        files.write_bytes(public, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    except EdgeskinError:
        private.unlink()  # half a pair would stand in the way of a whole one
        raise
    return private, public


_PRIMITIVES = ("serialization", "asymmetric.ec")


def _library(module: str) -> ModuleType:
    optional.demand("model_signing", "cryptography", "OpenSSL")
    return optional.require(f"model_signing.{module}")


def _unsupported() -> type[Exception]:
    found: type[Exception] = optional.require("cryptography.exceptions").UnsupportedAlgorithm
    return found


def _sha256_of(public_key: Path) -> str:
    """The hash by which model-signing tells a public key from others: of its PEM."""
    serialization = optional.require("cryptography.hazmat.primitives.serialization")
    try:
        key = serialization.load_pem_public_key(public_key.read_bytes())
        demanded = key.curve.name in {"secp256r1", "secp384r1", "secp521r1"}
    except OSError as error:
        raise EdgeskinError(f"{public_key}: cannot be read: {error.strerror}. Name a public key in PEM") from error
    except (ValueError, AttributeError, _unsupported()):
        demanded = False
    if not demanded:
        raise EdgeskinError(
            f"{public_key}: is no public key in PEM on P-256, P-384 or P-521; a private key does not belong here"
        )
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()
