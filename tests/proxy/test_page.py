"""The status page, on snapshots made by hand."""

import base64
import hashlib
import itertools
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_proxy import page
from stripe_proxy.page import Level, drawing, render, span, verdict
from stripe_proxy.snapshot import Backfill, Denial, Reference, Snapshot, StreamState, StreamStatus

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
VOID = {"meta", "link", "wbr", "br", "path"}
ATTACK = "<script>alert(1)</script>\"'&"


class Parsed(HTMLParser):
    """The page as a browser sees it: its elements with their attributes, and its texts by element."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self._open = [], {}, []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, text):
        for tag in {*self._open}:
            self.texts.setdefault(tag, []).append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag="main"):
        return " ".join("".join(self.texts.get(tag, ())).split())


def live(stream="customer", **fields):
    given_fields = {"rows": 3, "lag": timedelta(seconds=4), "polled_at": NOW} | fields
    return StreamStatus(stream=stream, state=StreamState.LIVE, **given_fields)


def filling(stream="charge", **fields):
    return StreamStatus(
        stream=stream, state=StreamState.BACKFILLING, backfill=Backfill(started_at=NOW - timedelta(hours=1), **fields)
    )


def denied(stream="payout", permission="rak_payout_read", **fields):
    denial = {"reason": "the key lacks it", "since": NOW - timedelta(days=3), "tried_at": NOW - timedelta(minutes=5)}
    return StreamStatus(
        stream=stream, state=StreamState.DENIED, denial=Denial(permission=permission, **denial | fields)
    )


def unused(stream="issuing_card"):
    return StreamStatus(stream=stream, state=StreamState.NOT_IN_USE, denial=Denial(reason="not set up"))


def waiting(stream="topup"):
    return StreamStatus(stream=stream, state=StreamState.WAITING)


def snapshot(*streams, poll_seconds=1, state_seconds=1, **fields):
    return Snapshot(
        schema="stripe",
        taken_at=NOW,
        sync_id="6c2f",
        livemode=False,
        polled_at=None if poll_seconds is None else NOW - timedelta(seconds=poll_seconds),
        written_at=NOW - timedelta(seconds=state_seconds),
        streams=streams,
        **fields,
    )


EVERYTHING = snapshot(
    live(swept_at=NOW - timedelta(days=2), not_read={"/v1/test_clocks": "no"}),
    live("invoice", rows=12345, drift=2, drift_found_at=NOW, listing_since=NOW, listing_because="a week has passed"),
    live("discount", gap=(NOW - timedelta(days=9), NOW - timedelta(days=2)), lag=None),
    live("dispute", rows=0),
    filling(fraction=0.37, remaining=timedelta(minutes=7), reached=NOW - timedelta(days=400)),
    filling("refund", doubt="nobody knows how far back its list goes"),
    *(denied(), denied("file", permission=None, reason="Stripe's own words")),
    *(unused(), waiting()),
    references=(Reference(stream="invoice", column="customer_id", of="customer"),),
)
NOTHING = Snapshot(schema="stripe", taken_at=NOW)


@pytest.fixture(params=[EVERYTHING, NOTHING, snapshot()], ids=["everything", "nothing", "no streams"])
def html(request):
    return render(request.param, wait_path="/api/wait/6c2f")


# What is on it


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (NOTHING, Level.IDLE, "There is nothing here yet"),
        (snapshot(), Level.IDLE, "There is nothing here yet"),
        (snapshot(live(), denied()), Level.GOOD, "Up to date"),
        (snapshot(live(lag=timedelta(minutes=5))), Level.WORKING, "Catching up"),
        (snapshot(live(), poll_seconds=7200), Level.TROUBLE, "As of 2 h ago"),
        (snapshot(live(), filling()), Level.WORKING, "The first copy is being made"),
        (snapshot(live(), waiting()), Level.WORKING, "The first copy is being made"),
        (snapshot(live(), filling(), state_seconds=3600), Level.TROUBLE, "The first copy is unfinished, and rests"),
        (snapshot(denied(), unused()), Level.TROUBLE, "Stripe refuses everything"),
        (snapshot(live(lag=None), poll_seconds=None), Level.IDLE, "How fresh this is, is not known"),
    ],
)
def test_one_sentence_says_whether_it_is_up_to_date(found, level, words):
    assert (verdict(found).level, verdict(found).headline) == (level, words)
    shown = Parsed(render(found, wait_path=None))
    assert f"{words} {verdict(found).detail}" in shown.text()
    assert {"class": f"verdict {level.value}", "aria-labelledby": "verdict"} in shown.all("section")


def test_the_colour_of_the_verdict_is_not_its_only_sign():
    signs = {level: render_of(level).text("section").split()[0] for level in Level}
    assert len({*signs.values()}) == len(Level)


def render_of(level):
    found = {
        Level.GOOD: snapshot(live()),
        Level.WORKING: snapshot(filling()),
        Level.TROUBLE: snapshot(denied()),
        Level.IDLE: NOTHING,
    }[level]
    return Parsed(render(found, wait_path=None))


def test_every_state_is_told_with_what_belongs_to_it():
    shown = Parsed(render(EVERYTHING, wait_path=None)).text()
    for words in (
        "✓ live", "… backfilling", "○ waiting", "12,345", "2 days ago",
        "37 % of the time it spans is read", "roughly 7 min to go if objects are spread evenly",
        "has come to 2024-11-27, newest first", "no estimate: nobody knows how far back its list goes",
        "payout rak_payout_read 0 3 days ago 5 min ago", "file Stripe's own words",
        "1 stream of products that the account does not use", "1 live stream without rows",
        "/v1/test_clocks This list is not read: no. 1 stream may lack rows: customer.",
        "invoice A listing had to mend 2 rows that events should have kept right, last 2026-01-01 12:00 UTC.",
        "discount What Stripe announced from 2025-12-23 12:00 UTC to 2025-12-30 12:00 UTC is lost",
        "being listed again since 0 s: a week has passed", "Stripe refuses 2 streams to the sync's key",
        "invoice.customer_id → customer", "test mode",
    ):  # fmt: skip
        assert words in shown, words


def test_streams_with_trouble_come_first_then_what_is_filled_then_the_largest():
    found = snapshot(live("a", rows=1), live("b", rows=9), filling("c"), live("d", rows=0, drift=1), waiting("e"))
    assert [each.stream for each in page.in_order(found)] == ["d", "c", "b", "a", "e"]


def test_many_refused_streams_are_folded_and_a_few_are_not():
    few, many = (
        Parsed(render(snapshot(live(), *(denied(f"s{n}") for n in range(count))), wait_path=None)) for count in (10, 11)
    )
    folds = [[each.get("id") for each in shown.all("details")] for shown in (few, many)]
    assert folds == [[], ["denied-fold"]]


def test_the_wait_url_is_shown_where_there_is_something_to_wait_for():
    assert "/api/wait/6c2f" in Parsed(render(EVERYTHING, wait_path="/api/wait/6c2f")).text("pre")
    assert "/api/wait" not in render(NOTHING, wait_path=None)


def test_a_backfill_is_a_bar_only_where_its_part_is_known():
    bars = Parsed(render(EVERYTHING, wait_path=None)).all("progress")
    assert bars == [{"value": "0.37", "max": "1", "aria-label": "Backfill of charge"}]


def test_unfinished_is_never_called_all():
    assert page.percent(0.9999) == "99 %"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5399, "90 min"),
        (5400, "2 h"),
        (172800, "2 days"),
        (1e9, "11,574 days"),
    ],
)
def test_times_have_one_unit(seconds, words):
    assert span(timedelta(seconds=seconds)) == words


# How it is made


def test_everything_is_escaped():
    odd = snapshot(
        live(ATTACK, drift=1, listing_since=NOW, listing_because=ATTACK, not_read={ATTACK: ATTACK}),
        live("b"),
        filling("c" + ATTACK, fraction=0.5, doubt=ATTACK),
        denied("d" + ATTACK, permission=ATTACK),
        denied("e", permission=None, reason=ATTACK),
        unused("f" + ATTACK),
        live("g" + ATTACK, rows=0),
        references=(
            Reference(stream=ATTACK, column=ATTACK, of="b"),
            Reference(stream="b", column=ATTACK, of="g" + ATTACK),
        ),
    )
    html = render(Snapshot(**{**vars(odd), "schema": ATTACK}), wait_path=f"/{ATTACK}")
    assert html.count("<script>") == 1
    assert "alert(1)</" not in html
    assert {name for _, attributes in Parsed(html).elements for name in attributes if name.startswith("on")} == set()
    assert ATTACK in "".join(Parsed(html).texts["main"])


def test_a_strict_policy_allows_the_page_and_nothing_else(html):
    shown = Parsed(html)
    for tag, allowed in (("style", page.STYLE_HASH), ("script", page.SCRIPT_HASH)):
        assert shown.all(tag) == [{}]
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert allowed == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        assert f"{tag}-src {allowed};" in page.CONTENT_SECURITY_POLICY
    assert page.CONTENT_SECURITY_POLICY.startswith("default-src 'none';")
    names = {name for _, attributes in shown.elements for name in attributes}
    assert not {name for name in names if name == "style" or name.startswith("on")}


def test_nothing_is_loaded_from_anywhere(html):
    assert {"link", "img", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in Parsed(html).elements
    } == set()
    assert [each["href"] for each in Parsed(html).all("a")] == ["/healthz", "/metrics"]
    assert not re.search(r"url\((?!#)|@import|src=", html)
    without_namespace = html.replace('xmlns="http://www.w3.org/2000/svg"', "").replace("http://HOST:PORT", "")
    assert "://" not in without_namespace


def test_tables_say_what_they_are():
    html = render(EVERYTHING, wait_path=None)
    shown = Parsed(html)
    assert len(shown.all("table")) == len(shown.all("caption")) == 3
    assert {each.get("scope") for each in shown.all("th")} == {"row", "col"}
    assert shown.all("html") == [{"lang": "en"}]


def test_ids_are_there_once(html):
    ids = [attributes["id"] for _, attributes in Parsed(html).elements if "id" in attributes]
    assert len(ids) == len({*ids})
    named = {each["aria-labelledby"] for _, each in Parsed(html).elements if "aria-labelledby" in each}
    assert named <= {*ids}


def test_what_the_script_keeps_over_an_update_has_an_id(html):
    kept = [a for tag, a in Parsed(html).elements if tag == "details" or a.get("class") == "scroll"]
    assert all(each.get("id") for each in kept)


def test_light_and_dark_are_both_there(html):
    assert {"name": "color-scheme", "content": "light dark"} in Parsed(html).all("meta")
    assert "prefers-color-scheme: dark" in html


# The diagram


def reference(stream, of, column="x_id"):
    return Reference(stream=stream, column=column, of=of)


def test_what_is_referred_to_is_left_of_what_refers_to_it():
    found = drawing([reference("invoice", "customer"), reference("charge", "invoice", "invoice_id")], {"customer": 7})
    assert sorted((box.x, box.stream, box.rows) for box in found.boxes) == [
        (0, "customer", 7), (180, "invoice", 0), (360, "charge", 0),
    ]  # fmt: skip
    assert {each.text for each in found.arrows} == {"invoice.x_id → customer.id", "charge.invoice_id → invoice.id"}


def test_what_follows_from_two_arrows_is_not_drawn():
    triangle = [reference("charge", "customer"), reference("charge", "invoice"), reference("invoice", "customer")]
    assert {each.text for each in drawing(triangle, {}).arrows} == {
        "charge.x_id → invoice.id", "invoice.x_id → customer.id",
    }  # fmt: skip


def test_two_columns_between_two_streams_are_one_arrow():
    (arrow,) = drawing([reference("a", "b", "b_id"), reference("a", "b", "old_b_id")], {}).arrows
    assert arrow.text == "a.b_id, a.old_b_id → b.id"


def test_streams_that_refer_to_themselves_alone_are_not_drawn():
    assert drawing([reference("a", "a")], {"a": 1}).boxes == ()


@given(st.sets(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=80))
def test_a_drawing_of_anything_is_finite_and_boxes_do_not_overlap(pairs):
    found = drawing([reference(f"s{one}", f"s{other}") for one, other in sorted(pairs)], {})
    assert len(found.boxes) <= page.DRAWN_MAX
    for one, other in itertools.combinations(found.boxes, 2):
        apart = abs(one.x - other.x) >= page.BOX_WIDTH or abs(one.y - other.y) >= page.BOX_HEIGHT
        assert apart, (one, other)
    for box in found.boxes:
        assert 0 <= box.x <= found.width - page.BOX_WIDTH
        assert 0 <= box.y <= found.height - page.BOX_HEIGHT
    left = {box.stream: box.x for box in found.boxes}
    for arrow in found.arrows:
        stream, of = re.fullmatch(r"(s\d+)\.x_id → (s\d+)\.id", arrow.text).groups()
        assert left[of] < left[stream]


def test_what_is_not_counted_yet_is_not_said_to_be_none():
    uncounted, counted = (Parsed(render(snapshot(live(rows=rows)), wait_path=None)).text() for rows in (None, 7))
    assert "Rowsnot counted yet" in uncounted
    assert "Rows7" in counted
