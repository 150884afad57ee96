import itertools
import json
import re
from html.parser import HTMLParser

import chromium
import pytest
import whole_report

from edgeskin.benchmarks.attestation import Attestation
from edgeskin.benchmarks.gate import Gate, judge
from edgeskin.benchmarks.measurements import (
    Conditions,
    Curves,
    Histogram,
    Measurements,
    MetricFigure,
    RocCurve,
    SubgroupFigure,
)
from edgeskin.benchmarks.report import Picture, Report, html, markdown, words
from edgeskin.benchmarks.report.html import charts
from edgeskin.benchmarks.report.html.accuracy import _runs
from edgeskin.benchmarks.report.html.page import _STYLE, POLICY

VOID = {"meta", "img", "br", "col"}


class Page(HTMLParser):
    """A page taken apart: its elements, its text, and whether every element is closed where it must be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open and data.strip():
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, kind: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == kind]


@pytest.fixture
def whole(card, measured) -> Report:
    return whole_report.report(card, whole_report.whole(measured))


def test_the_verdict_comes_first_and_says_what_stands_against_it(whole):
    words = Page(html.render(whole)).words
    assert words[0] == "phantom 1, onnx int8: failed"  # the title
    assert words[1:4] == ["phantom 1", "onnx int8, gate default, profile desktop", "✗ Failed"]
    before = words[: words.index("Promises")]
    assert "size_mib" in before
    assert "3.1; must be at most 3" in before


def test_every_promise_stands_there_with_its_number_its_limit_and_its_state_in_words(whole):
    text = Page(html.render(whole)).text
    assert "mask Jaccard drop 0.001 ≤ 0.005 ✓ passed" in text
    assert "size (MiB) 3.1 ≤ 3 ✗ failed" in text
    assert text.count("✓ passed") == len(whole.verdict.in_state("passed"))


def test_a_figure_that_was_measured_elsewhere_says_where(card, measured):
    judged = judge(measured, whole_report.GATE, card, "int8", attested={"pixel-9": measured})
    promises = tuple(one.model_copy(update={"attested_by": "pixel-9"}) for one in judged.promises)
    report = whole_report.report(card, measured, verdict=judged.model_copy(update={"promises": promises}))
    assert Page(html.render(report)).text.count("on pixel-9") == len(promises)


def test_a_subgroup_that_is_too_small_to_be_judged_says_why(card, measured):
    report = whole_report.report(card, measured)
    small = report.verdict.promises[4].model_copy(
        update={"name": "melanoma_auroc_drop_upper95[sex=male]", "state": "reported", "sentence": "of 9 cases only"}
    )
    verdict = report.verdict.model_copy(update={"promises": (small,)})
    text = Page(html.render(report.with_verdict(verdict, "g"))).text
    assert "melanoma AUROC drop (95 % bound) [sex=male] of 9 cases only 0.834 ≥ 0.8 · reported" in text


@pytest.mark.parametrize(
    "title",
    [
        "ROC, melanoma",
        "Reliability, melanoma",
        "Jaccard of the mask",
        "Latency, model int8, threads: 1",
        "Confusion, diagnosis: truth by row",
        "encoder_39_expand_conv",
        "female",
        "ISIC_0000007",
        "Cold start 231 ms",
        "95 % interval 1.45 – 1.49",
        "encoder_0_conv 3 passed 0.03 2.9 1.4 0.004",
        "The 15 worst of 18 groups",
        "The trade: MiB",
    ],
)
def test_everything_that_was_measured_is_shown(whole, title):
    assert title in Page(html.render(whole)).text


def test_the_operating_point_is_the_stored_threshold(whole):
    text = Page(html.render(whole)).text
    assert f"at the stored threshold 0.4: sensitivity {0.21**0.33:.3f}, specificity 0.790" in text


def test_figures_stand_beside_their_intervals(whole):
    text = Page(html.render(whole)).text
    assert "AUROC 0.8340 0.8040 – 0.8640 0.8350 +0.0010 0.0050 0.0040 150" in text


def test_a_figure_of_a_busy_machine_is_marked_where_it_stands_and_says_why(card, measured):
    whole = whole_report.whole(measured)
    busy = Conditions(others_share=0.5)
    first, *others = whole.latency
    noisy = whole.model_copy(
        update={
            "latency": (first.model_copy(update={"cv": 0.33, "conditions": busy}), *others),
            "speed": whole.speed.model_copy(update={"conditions": busy}),
        }
    )
    doubted = whole_report.report(card, noisy, cautions=words.doubts(noisy))
    page = Page(html.render(doubted))
    tile = page.text[page.text.index("latency p90") : page.text.index("size 3.1 MiB")]
    assert "ms ⚠ threads: 1 1.47× as fast as fp32 ⚠ ⚠ doubtful, see Speed" in tile
    speed = page.text[page.text.index("Speed ⚠") :]
    assert "⚠ model int8: times scatter by 33% of their mean (more than 10%), other work took 50%" in speed
    assert "⚠ int8 beside fp32: other work took 50%" in speed
    assert "as fast as fp32 ⚠ :" in speed
    assert speed.count("model int8 ⚠") == 3, "under its picture, in the picture's name, in the table"
    assert speed.count("times scatter by 33%") == 1, "and not once more among the cautions"
    assert "⚠ ≤ 20" in page.text, "where the promise is judged by it, too"
    assert re.search(r"latency_p90_ms +\| at most 20 .* ⚠ +\| ✓ passed", markdown.summary(doubted))
    quiet = whole_report.report(card, whole)
    assert "⚠" not in Page(html.render(quiet)).text
    there = Attestation(name="an-m2", manifest_sha256="a" * 64, simulated=False, measurements=noisy)
    attested = quiet.with_verdict(quiet.verdict, quiet.gate, (there,))
    (here,) = (one for one in quiet.verdict.promises if one.name == "latency_p90_ms")
    assert not words.judged(here, attested, 4).endswith("⚠"), "another machine's noise is not this one's"
    assert words.judged(here.model_copy(update={"attested_by": "an-m2"}), attested, 4).endswith("⚠")


def test_an_interval_is_claimed_only_where_resamples_vary_and_classes_that_are_absent_are_told(card, measured):
    def figure(**more: object) -> MetricFigure:
        return MetricFigure.model_validate({"float": 1.0, "int8": 1.0, "n": 12} | more)

    group = SubgroupFigure(
        attribute="sex",
        value="male",
        n=12,
        classes={"diagnosis": {"melanoma": 3, "nevus": 9, "seborrheic_keratosis": 0}, "melanoma": {"no": 9, "yes": 3}},
        metrics={
            "mask_jaccard": figure(),
            "melanoma_auroc": figure(ci95=(1.0, 1.0)),
            "diagnosis_balanced_accuracy": figure(ci95=(0.5, 1.0)),
            "melanoma_sensitivity": MetricFigure(float=None, int8=None, n=0),
        },
        weakest={"mask_jaccard": 12, "melanoma_auroc": 3, "diagnosis_balanced_accuracy": 0, "melanoma_sensitivity": 0},
    )
    accuracy = measured.accuracy.model_copy(update={"subgroups": (group,)})
    report = whole_report.report(card, measured.model_copy(update={"accuracy": accuracy}))
    text = Page(html.render(report)).text
    assert "cases sex male 1.0000 none claimed 12 melanoma AUROC" in text, "no class beside a mask"
    assert "of the rarest class sex male 1.0000 none claimed 12 3 " in text
    assert "sex male 1.0000 0.5000 – 1.0000 12 over 2 of 3 classes" in text
    assert "sex male not measured 0 0 " in text
    told = re.sub(" +", " ", markdown.render(report))
    assert (
        "| sex=male | 12 | 1.0000 (none claimed) | 1.0000 (none claimed; 3) | 1.0000 (0.5000 – 1.0000; over 2 of 3 "
        "classes) | not measured |"
    ) in told


def test_a_line_of_reliability_joins_only_neighbours_with_ten_images(whole):
    bins = whole.measurements.accuracy.curves.reliability["melanoma"].int8
    few = [bin_.model_copy(update={"n": 9}) if place == 3 else bin_ for place, bin_ in enumerate(bins)]
    runs = list(_runs(few))
    assert [len(run) for run in runs] == [3, 8, 2], "broken at the fourth, and where there is none"
    assert all(len(point) == 2 for run in runs for point in run)


def test_a_drop_is_coloured_only_where_it_could_have_been_shown(card, measured):
    def page_of(drop: float) -> str:
        figure = MetricFigure(float=0.9, int8=0.9 - drop, drop=drop, smallest_detectable_drop=0.004, n=9)
        accuracy = measured.accuracy.model_copy(update={"metrics": {"mask_dice": figure}})
        return html.render(whole_report.report(card, measured.model_copy(update={"accuracy": accuracy})))

    assert '<span class="bad">+0.0100' in page_of(0.01)
    assert '<span class="good">-0.0100' in page_of(-0.01)
    assert "<span>+0.0010" in page_of(0.001)


def test_nothing_measured_still_makes_a_page_that_says_so(card):
    text = Page(html.render(whole_report.report(card, Measurements(), layer_sizes=()))).text
    for title in ("Accuracy", "Numerics", "Speed", "Size", "Memory", "Placement", "Device"):
        assert re.search(rf"{title} Not measured", text), title


def test_why_something_was_not_measured_stands_there(card):
    reasons = {"latency": "nothing on this machine runs coreml", "accuracy": "no data was given"}
    text = Page(html.render(whole_report.report(card, Measurements(not_measured=reasons)))).text
    assert "Speed Not measured: nothing on this machine runs coreml." in text
    assert "Accuracy Not measured: no data was given." in text


def test_evidence_without_curves_says_how_to_get_them(card, measured):
    text = Page(html.render(whole_report.report(card, measured))).text
    assert "No curves" in text
    assert "nobody looked at subgroups" in text


def test_images_known_from_training_are_named_at_the_top_of_the_accuracy(card, measured):
    accuracy = measured.accuracy.model_copy(update={"seen_in_training": ("ISIC_1", "ISIC_2")})
    text = Page(html.render(whole_report.report(card, measured.model_copy(update={"accuracy": accuracy})))).text
    assert "Left out as seen in training: 2 images (ISIC_1, ISIC_2)." in text


def test_a_report_of_an_older_edgeskin_makes_a_page_too(card, measured, tmp_path):
    old = whole_report.report(card, measured).model_dump(mode="json")
    for key in ("layer_sizes", "repair", "attestations"):
        del old[key]
    for key in ("subgroups", "curves", "worst", "seen_in_training"):
        del old["measurements"]["accuracy"][key]
    del old["measurements"]["cold_start"]
    for key in ("batch", "histogram", "conditions"):
        del old["measurements"]["latency"][0][key]
    (tmp_path / "report.json").write_text(json.dumps(old))
    text = Page(html.render(Report.read(tmp_path / "report.json"))).text
    assert "nobody looked at subgroups" in text
    assert "the artifact's layers were not read" in text


def test_a_gate_that_promises_nothing_is_no_pass(card, measured):
    empty = whole_report.report(card, measured).with_verdict(judge(measured, Gate(), card, "int8"), "empty")
    text = Page(html.render(empty)).text
    assert "✗ Failed the gate promises nothing of this network, and that is not a pass" in text


def test_an_undefined_curve_and_a_histogram_of_one_bin_break_nothing(card, measured):
    curves = Curves(
        roc={
            "melanoma": RocCurve(
                threshold=0.4, float=(), int8=(), float_at_threshold=(None, None), int8_at_threshold=(None, 1.0)
            )
        }
    )
    latency = (measured.latency[0].model_copy(update={"histogram": Histogram(edges_ms=(1.0, 1.0), counts=(3,))}),)
    accuracy = measured.accuracy.model_copy(update={"curves": curves, "subgroups": (), "worst": {}})
    page = html.render(
        whole_report.report(card, measured.model_copy(update={"accuracy": accuracy, "latency": latency}))
    )
    assert "the operating point is not known" in Page(page).text


@pytest.mark.parametrize(
    "attack", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "a&b"]
)
def test_whatever_a_name_holds_is_text(card, measured, attack):
    whole = whole_report.whole(measured)
    report = whole_report.report(
        card.model_copy(update={"name": attack, "version": attack}),
        whole.model_copy(
            update={
                "not_measured": {"numerics": attack},
                "device": whole.device.model_copy(update={"cpu": attack, "throttled": (attack,)}),
                "accuracy": whole.accuracy.model_copy(update={"dataset": attack, "cautions": (attack,)}),
            }
        ),
        target=attack,
        profile=attack,
        artifact=attack,
        cautions=(attack,),
        next_commands=((attack, attack),),
    )
    page = Page(html.render(report))
    harmless = Page(html.render(whole_report.report(card, whole)))
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in harmless.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.text.count(attack) > 8


def test_the_page_asks_nobody_for_anything_and_runs_nothing(whole):
    text = html.render(whole)
    page = Page(text)
    (policy,) = (meta for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == POLICY == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not re.search(r"https?:|//[a-z]|url\(|@import|javascript:", text)
    assert all(attributes["href"].startswith("#") for attributes in page.all("a"))


def test_links_meet_their_places_and_no_name_is_given_twice(whole):
    page = Page(html.render(whole))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert {attributes["href"][1:] for attributes in page.all("a")} <= set(names)
    assert {attributes["aria-labelledby"] for attributes in page.all("section")} <= set(names)


def test_every_picture_is_described_for_who_does_not_see_it(whole):
    page = Page(html.render(whole, [Picture("ISIC_0000000", ("melanoma 0.1, truth yes",), 4, 3, b"jpeg")]))
    for attributes in page.all("svg"):
        assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"])
    assert len(page.all("title")) - 1 == len(page.all("desc")) == sum("role" in one for one in page.all("svg"))
    assert [one["alt"] for one in page.all("img")] == ["ISIC_0000000: melanoma 0.1, truth yes"]


def test_headings_go_down_one_step_at_a_time(whole):
    pictures = [Picture("ISIC_0000000", ("melanoma 0.1",), 4, 3, b"jpeg")]
    levels = [int(tag[1]) for tag, _ in Page(html.render(whole, pictures)).elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_a_bundles_own_page_holds_no_photograph_and_says_how_to_see_them(whole):
    page = Page(html.render(whole))
    assert not page.all("img")
    assert "edgeskin report BUNDLE --data DIR --out page.html" in page.text


def test_pictures_are_put_beside_the_score_of_their_case(whole):
    page = Page(html.render(whole, [Picture("ISIC_0000003", ("melanoma 0.10, truth yes",), 4, 3, b"jpeg")]))
    assert [one["src"] for one in page.all("img")] == ["data:image/jpeg;base64,anBlZw=="]
    assert "ISIC_0000003 Jaccard 0.0900 melanoma 0.10, truth yes" in page.text


def test_nothing_is_drawn_outside_its_chart(whole):
    text = html.render(whole)
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.S).lower().replace("nanosec", "")
    for attributes in Page(text).all("circle"):
        assert -8 <= float(attributes["cx"]) <= charts.WIDTH
        assert -8 <= float(attributes["cy"]) <= charts.HEIGHT
    for attributes in Page(text).all("rect"):
        assert float(attributes["width"]) > 0
        assert float(attributes["height"]) >= 0


# --- colours: WCAG 2.2, 1.4.3, asks 4.5 to 1 of text ---

PAIRS = [
    *((ink, paper) for ink in ("ink", "faint", "ships", "passed", "failed") for paper in ("card", "back")),
    *((f"{state}", f"{state}-soft") for state in ("passed", "inherited", "pending", "failed", "reported")),
    ("ink", "failed-soft"),
    ("ink", "pending-soft"),
    ("ink", "mono"),
]


def _colours(dark: bool) -> dict[str, str]:
    light, _, rest = _STYLE.read_text().partition("@media (prefers-color-scheme: dark)")
    named = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light))
    return named | dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", rest)) if dark else named


def _luminance(colour: str) -> float:
    """Source: WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), PAIRS)
def test_text_can_be_read_on_its_ground(ink, paper, dark):
    colours = _colours(dark)
    high, low = sorted((_luminance(colours[ink]), _luminance(colours[paper])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


# --- as a browser shows it ---


@chromium.needs_chromium
def test_no_page_must_be_moved_sideways_on_a_phone_or_a_desktop(whole, card, tmp_path):
    for report in (whole, whole_report.report(card, Measurements())):
        for width, taken in chromium.widths(html.render(report), (360, 768, 1280), tmp_path).items():
            assert taken <= width


@chromium.needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_light_or_dark_as_the_reader_wants_it(whole, tmp_path, width):
    page = html.render(whole)
    light, dark = (chromium.picture(page, width, 800, tmp_path, dark=dark) for dark in (False, True))
    assert light.shape == dark.shape == (800, width, 3)
    assert light.mean() > 200
    assert dark.mean() < 60
    assert light.std() > 10  # there is something on it
