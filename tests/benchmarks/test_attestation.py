"""What stands beside a manifest is read wholly or refused by name; its name tells the machine and nobody's own."""

import json
import platform

import pytest

from edgeskin.benchmarks import attestation, device
from edgeskin.benchmarks.attestation import Attestation
from edgeskin.benchmarks.measurements import DeviceFacts
from edgeskin.contract import signature
from edgeskin.errors import BundleError

MANIFEST = "a" * 64


@pytest.fixture
def attested(measured) -> Attestation:
    return Attestation(name="an-m2", manifest_sha256=MANIFEST, simulated=False, measurements=measured)


def test_an_attestation_survives_its_file_and_takes_the_place_of_an_older_one(tmp_path, attested):
    assert attestation.read_all(tmp_path, MANIFEST) == ()
    attestation.write(tmp_path, attested)
    assert attestation.read_all(tmp_path, MANIFEST) == (attested,)
    newer = attested.model_copy(update={"created": "2031-01-01T00:00:00+00:00"})
    path = attestation.write(tmp_path, newer)
    assert path == tmp_path / "attestations" / "an-m2.json"
    assert attestation.read_all(tmp_path, MANIFEST) == (newer,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: len(text) // 2], "Invalid JSON"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "this edgeskin reads format 1"),
        (lambda text: text.replace('"p90_ms": 10.4', '"p90_ms": "fast"'), r"measurements\.latency\.0\.p90_ms"),
        (lambda text: text.replace(',\n  "simulated": false', ""), "simulated: Field required"),
        (lambda text: text.replace('"simulated"', '"simulatd": false, "simulated"'), "simulatd: Extra inputs"),
        (lambda text: text.replace(MANIFEST, "b" * 64), "attests another bundle"),
        (lambda text: text.replace('"an-m2"', '"an-m3"'), "calls itself an-m3"),
    ],
    ids=["truncated", "newer", "no number", "a key less", "a key more", "another bundle", "renamed"],
)
def test_what_is_no_attestation_of_this_bundle_is_refused_by_name(tmp_path, attested, change, said):
    path = attestation.write(tmp_path, attested)
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(BundleError, match=rf"an-m2\.json: .*{said}"):
        attestation.read_all(tmp_path, MANIFEST)


def test_only_a_device_counts(attested):
    assert attested.uncounted is None
    simulated = attested.model_copy(update={"simulated": True})
    assert simulated.uncounted is not None
    assert "not counted: simulated" in simulated.sentence
    figures = attested.measurements.model_copy(update={"verified": "graph"})
    assert attested.model_copy(update={"measurements": figures}).uncounted is not None


def test_what_compared_nothing_or_names_no_machine_counts_nowhere(attested):
    for change, why in (
        ({"numerics": ()}, "compared the artifact with nothing"),
        ({"numerics": attested.measurements.numerics[:1]}, "compared the artifact with nothing"),
        ({"device": None}, "names no machine"),
    ):
        figures = attested.measurements.model_copy(update=change)
        assert why in attested.model_copy(update={"measurements": figures}).uncounted


def test_what_compared_nothing_leaves_the_word_of_who_did(measured):
    by_bytes = measured.model_copy(update={"verified": "graph"})
    assert by_bytes.overlaid(measured).verified == "device"
    assert by_bytes.overlaid(measured.model_copy(update={"numerics": ()})).verified == "graph"


def test_where_a_key_is_trusted_no_attestation_counts(attested, monkeypatch):
    monkeypatch.setenv(signature.TRUSTED_KEY, "key.pem")
    assert attested.uncounted == "nobody signed it, and EDGESKIN_TRUSTED_KEY lets signed figures alone count"


def test_a_machine_is_called_by_its_cpu_and_system_and_never_by_its_host(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "annas-laptop")
    mac = DeviceFacts(cpu="Apple M2 Pro", cores=10, os="macOS 15.1", python="3.12")
    assert attestation.name_of(mac) == "apple-m2-pro-macos-15-1"
    here = attestation.name_of(device.facts())
    attestation.demand_name(here)
    assert "annas" not in here
    long = mac.model_copy(update={"cpu": "x" * 79 + " y"})
    attestation.demand_name(attestation.name_of(long))


@pytest.mark.parametrize("name", ["", "../m2", "M2", "an m2", "-m2", "x" * 81])
def test_a_name_is_a_plain_word(name):
    with pytest.raises(BundleError, match="small letters, digits and hyphens"):
        attestation.demand_name(name)


def test_the_file_holds_plain_json(tmp_path, attested):
    told = json.loads(attestation.write(tmp_path, attested).read_text())
    assert (told["manifest_sha256"], told["simulated"], told["format"]) == (MANIFEST, False, 1)
