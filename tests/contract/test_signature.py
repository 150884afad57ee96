"""Signatures: whose word counts, and that nothing that was changed passes."""

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_bundle import fill

from edgeskin import files, optional
from edgeskin.contract import bundle, signature
from edgeskin.contract.bundle import Bundle
from edgeskin.errors import BundleError, EdgeskinError, MissingDependencyError

ABSENT = optional.missing("model_signing", "OpenSSL", "cryptography")
signs = pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))


@pytest.fixture(autouse=True)
def _nobody_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signature.TRUSTED_KEY, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle that nobody signed."""
    return fill(tmp_path / "b")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return signature.make_keys(tmp_path / "keys")


@pytest.fixture
def signed(folder: Path, keys: tuple[Path, Path]) -> Path:
    """The bundle, signed with `keys`."""
    signature.write(folder / "manifest.json", keys[0])
    return folder


def passes(folder: Path, public_key: Path | None) -> bool:
    """What `edgeskin verify` asks."""
    try:
        if bundle.verify(folder):
            return False
        signature.read(folder / "manifest.json")
        if public_key is not None:
            signature.check(folder / "manifest.json", public_key)
    except EdgeskinError:
        return False
    return True


def flips(folder: Path, times: int) -> Iterator[Path]:
    """One byte after the other, in every file in turn, becomes another one, and is put right again."""
    chance, paths = random.Random(0), sorted(path for path in folder.rglob("*") if path.is_file())
    for turn in range(times):
        path = paths[turn % len(paths)]
        whole = path.read_bytes()
        at = chance.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ chance.randrange(1, 256)]) + whole[at + 1 :])
        yield path
        path.write_bytes(whole)


def test_nothing_signed_is_one_line_of_doubt_and_opens(folder: Path) -> None:
    assert signature.read(folder / "manifest.json") is None
    (line,) = signature.doubts(folder / "manifest.json")
    assert line == f"warning: {folder}: is not signed, so nobody answers for it"
    assert Bundle.open(folder).manifest.target == "onnx"


def statement(sha256: str) -> dict[str, object]:
    """A file shaped like a signature that names a manifest; what signs it is worth nothing."""
    ignored = [".git", ".gitattributes", ".github", ".gitignore"]
    subject = hashlib.sha256(bytes.fromhex(sha256)).hexdigest()
    told = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "manifest.json", "digest": {"sha256": subject}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": [{"algorithm": "sha256", "digest": sha256, "name": "."}],
            "serialization": {
                "ignore_paths": ignored,
                "hash_type": "sha256",
                "method": "files",
                "allow_symlinks": False,
            },
        },
    }
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "c" * 64}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(json.dumps(told, indent=2).encode()).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": "QUJD", "keyid": ""}],
        },
    }


def put(folder: Path, value: object) -> None:
    (folder / "manifest.sig").write_text(json.dumps(value, separators=(",", ":")))


@pytest.mark.parametrize("text", ["", "signed", "[]", "{}", "[" * 100_000, '{"dsseEnvelope": {"payload": "!"}}'])
def test_a_file_that_is_no_signature_is_refused_without_any_key(folder: Path, text: str) -> None:
    (folder / "manifest.sig").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.sig: is no signature that `edgeskin sign` wrote"):
        Bundle.open(folder)


def test_a_signature_of_another_manifest_is_refused_without_any_key(folder: Path) -> None:
    manifest = folder / "manifest.json"
    put(folder, statement(Bundle.open(folder).sha256))
    assert signature.read(manifest) == "c" * 64
    (line,) = signature.doubts(manifest)
    assert "is signed by the key cccccccccccccccc…, which was not checked" in line
    put(folder, statement("d" * 64))
    with pytest.raises(BundleError, match=r"signs another manifest\.json than the one beside it"):
        Bundle.open(folder)


def test_base64_that_says_the_same_in_other_letters_is_refused(folder: Path) -> None:
    written = statement(Bundle.open(folder).sha256)
    for sig in ("QUJD\n", "QUI=", "QUJ="):  # the last: bits that no decoder looks at
        written["dsseEnvelope"]["signatures"][0]["sig"] = sig  # type: ignore[index]
        put(folder, written)
        if sig == "QUI=":
            assert signature.read(folder / "manifest.json") == "c" * 64
        else:
            with pytest.raises(BundleError, match="is no signature"):
                signature.read(folder / "manifest.json")


def test_where_a_key_is_trusted_and_nothing_can_check_it_nothing_opens(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(optional, "available", lambda module: False)
    monkeypatch.setenv(signature.TRUSTED_KEY, str(tmp_path / "key.pem"))
    with pytest.raises(MissingDependencyError, match=r"model_signing is not installed.*edgeskin\[sign\]"):
        Bundle.open(folder)


@signs
def test_a_signed_bundle_opens_by_its_key_and_says_whose_it_is(
    signed: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = signed / "manifest.json"
    key = signature.check(manifest, keys[1])
    assert signature.read(manifest) == key
    assert bundle.verify(signed) == ()
    monkeypatch.setenv(signature.TRUSTED_KEY, str(keys[1]))
    assert Bundle.intact(signed).sha256
    assert list(signature.doubts(manifest)) == []


@signs
def test_model_signing_itself_takes_the_signature(signed: Path, keys: tuple[Path, Path]) -> None:
    verifying = optional.require("model_signing.verifying")
    config = verifying.Config().use_elliptic_key_verifier(public_key=keys[1])
    config.verify(signed / "manifest.json", signed / "manifest.sig")
    (signed / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="Signature mismatch"):
        config.verify(signed / "manifest.json", signed / "manifest.sig")


@signs
def test_a_trusted_key_refuses_what_is_unsigned_or_signed_by_another(
    folder: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signature.TRUSTED_KEY, str(keys[1]))
    with pytest.raises(BundleError, match="is not signed, and a signature by the key"):
        Bundle.open(folder)
    assert Bundle.open(folder, unsigned_too=True).manifest.target == "onnx"
    other, _ = signature.make_keys(tmp_path / "other")
    signature.write(folder / "manifest.json", other)
    with pytest.raises(BundleError, match=r"is signed by the key .*, not by "):
        Bundle.open(folder)


@signs
def test_a_signature_that_only_claims_the_key_is_refused(signed: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """Another key's signature under this key's name."""
    path = signed / "manifest.sig"
    ours = json.loads(path.read_text())
    path.unlink()
    other, _ = signature.make_keys(tmp_path / "other")
    signature.write(signed / "manifest.json", other)
    theirs = json.loads(path.read_text())
    put(signed, theirs | {"verificationMaterial": ours["verificationMaterial"]})
    with pytest.raises(BundleError, match="is not a signature of this bundle by the key"):
        signature.check(signed / "manifest.json", keys[1])


@signs
def test_a_manifest_written_anew_for_another_network_is_not_signed_any_more(
    signed: Path, keys: tuple[Path, Path]
) -> None:
    (signed / "model.onnx").write_bytes(b"another network")
    bundle.write_manifest(signed, target="onnx", precision="int8", artifact="model.onnx", graph_sha256="a" * 64)
    assert bundle.verify(signed) == ()
    assert not passes(signed, None)
    assert not passes(signed, keys[1])


@signs
def test_no_flipped_byte_of_a_signed_bundle_passes_with_its_key(signed: Path, keys: tuple[Path, Path]) -> None:
    assert passes(signed, keys[1])
    assert [path.name for path in flips(signed, 1000) if passes(signed, keys[1])] == []
    assert passes(signed, keys[1])


@signs
def test_without_a_key_only_the_signature_proper_and_the_name_of_its_key_may_be_anything(signed: Path) -> None:
    path = signed / "manifest.sig"
    whole = path.read_text()
    value = json.loads(whole)
    unchecked = (value["verificationMaterial"]["publicKey"]["hint"], value["dsseEnvelope"]["signatures"][0]["sig"])
    spans = [range(whole.index(part), whole.index(part) + len(part)) for part in unchecked]
    for at, letter in enumerate(whole):
        if any(at in span for span in spans):
            continue
        path.write_text(whole[:at] + chr(ord(letter) ^ 1) + whole[at + 1 :])
        with pytest.raises(BundleError):
            signature.read(signed / "manifest.json")
    path.write_text(whole)
    assert [at.name for at in flips(signed, 200) if at != path and passes(signed, None)] == []


def test_no_flipped_byte_of_an_unsigned_bundle_passes_either(folder: Path) -> None:
    assert passes(folder, None)
    assert [path.name for path in flips(folder, 1000) if passes(folder, None)] == []
    assert passes(folder, None)


@signs
def test_a_bundle_is_signed_once(signed: Path, keys: tuple[Path, Path]) -> None:
    before = (signed / "manifest.sig").read_bytes()
    with pytest.raises(BundleError, match="stands there already"):
        signature.write(signed / "manifest.json", keys[0])
    assert (signed / "manifest.sig").read_bytes() == before


@signs
def test_new_keys_are_for_their_owner_and_never_replace_others(keys: tuple[Path, Path]) -> None:
    private, public = keys
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert public.read_text().startswith("-----BEGIN PUBLIC KEY-----")
    with pytest.raises(EdgeskinError, match=r"edgeskin-private\.pem: stands there already"):
        signature.make_keys(private.parent)


@signs
def test_a_pair_of_keys_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise EdgeskinError("the disk is full")

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(EdgeskinError, match="the disk is full"):
        signature.make_keys(tmp_path / "keys")
    assert list((tmp_path / "keys").iterdir()) == []


@signs
def test_a_key_with_a_password_needs_it(folder: Path, tmp_path: Path) -> None:
    private, public = signature.make_keys(tmp_path / "keys", "secret")
    assert private.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    for wrong, told in (
        (None, r"has a password\. Set EDGESKIN_KEY_PASSWORD to it"),
        ("guess", "the password in EDGESKIN_KEY_PASSWORD does not open it"),
    ):
        with pytest.raises(EdgeskinError, match=told):
            signature.write(folder / "manifest.json", private, wrong)
    assert not (folder / "manifest.sig").exists()
    signature.write(folder / "manifest.json", private, "secret")
    assert passes(folder, public)


@signs
def test_what_is_no_key_is_named(signed: Path, folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    rsa = optional.require("cryptography.hazmat.primitives.asymmetric.rsa").generate_private_key(65537, 2048)
    serialization = optional.require("cryptography.hazmat.primitives.serialization")
    kinds = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "rsa.pem").write_bytes(rsa.public_key().public_bytes(*kinds))
    (tmp_path / "words.pem").write_text("open sesame")
    for name in (tmp_path / "rsa.pem", tmp_path / "words.pem", keys[0]):
        with pytest.raises(EdgeskinError, match="is no public key in PEM on P-256, P-384 or P-521"):
            signature.check(signed / "manifest.json", name)
    with pytest.raises(EdgeskinError, match="cannot be read: No such file"):
        signature.check(signed / "manifest.json", tmp_path / "absent.pem")
    (folder / "manifest.sig").unlink()
    for name in (keys[1], tmp_path / "rsa.pem"):
        with pytest.raises(EdgeskinError, match=r"is a public key\. Give the private one"):
            signature.write(folder / "manifest.json", name)
    with pytest.raises(EdgeskinError, match="is no private key in PEM on P-256, P-384 or P-521"):
        signature.write(folder / "manifest.json", tmp_path / "words.pem")
    with pytest.raises(EdgeskinError, match="cannot be read: No such file"):
        signature.write(folder / "manifest.json", tmp_path / "absent.pem")
    assert not (folder / "manifest.sig").exists()
