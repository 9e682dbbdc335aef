"""What a key can read: one request of one object per list, for `--test`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tap_stripe_events import previews
from tap_stripe_events.client import Answer, Request, StripeClient
from tap_stripe_events.gather import refusal_reason
from tap_stripe_events.limits import Verdict
from tap_stripe_events.object_table import STRIPE_LISTS
from tap_stripe_events.objects import PREVIEWS, StripeList, StripeObject, stream_name
from tap_stripe_events.shapes import field_value, reference_id

_REFUSALS = frozenset({Verdict.DENIED, Verdict.NOT_SET_UP})


@dataclass(frozen=True, kw_only=True)
class Access:
    """Whether the rows of a stream can be read.

    Attributes:
        stream: The stream.
        readable: None if that could not be tried.
        note: Why not; empty if it can.
        not_set_up: It cannot because the account does not use the product.
        lacks: The permission that is missing, as Stripe names it; empty if that is not the reason.
    """

    stream: str
    readable: bool | None
    note: str = ""
    not_set_up: bool = False
    lacks: str = ""


def check_access(client: StripeClient, objects: Mapping[str, StripeObject]) -> list[Access]:
    """Ask for one object of every list, parents first, and return what the key can read, stream by stream.

    Of what is computed on request one is asked for too.

    Raises:
        TapError: Stripe does not know the key, or does not answer.
    """
    answers: dict[StripeList, Answer] = {}
    examples: dict[str, dict[str, Any]] = {}
    while batch := [request for each in STRIPE_LISTS if each not in answers for request in _request(each, examples)]:
        for request in batch:
            client.submit(request)
        while client.in_flight:
            answer = client.take(1.0)
            if answer is None:
                continue
            a_list: StripeList = answer.request.purpose
            answers[a_list] = answer
            for example in _elements(answer, single=a_list.single):
                examples.setdefault(str(example.get("object")), example)
    computed = [_preview_access(client, each, examples) for each in PREVIEWS.values()]
    return [*(_access(each, answers) for each in objects.values()), *computed]


def _preview_access(client: StripeClient, preview: StripeObject, examples: Mapping[str, dict[str, Any]]) -> Access:
    whose = previews.PARAMETERS[preview.name]
    example = reference_id(examples.get(whose))
    if example is None:
        return Access(stream=preview.stream, readable=None, note=f"there is no {whose} to try it with")
    answer = client.get(
        Request(
            path=previews.PATH,
            endpoint=previews.PATH,
            parameters={whose: example},
            version=previews.VERSION,
            of_one=True,
        )
    )
    if answer.verdict not in _REFUSALS:
        return Access(stream=preview.stream, readable=True)
    return Access(
        stream=preview.stream,
        readable=False,
        note=f"{previews.PATH}: {refusal_reason(answer)}",
        not_set_up=answer.verdict is Verdict.NOT_SET_UP,
        lacks=_lacked_permission(answer),
    )


def _lacked_permission(answer: Answer) -> str:
    """Return the permission that a refusal names; empty if it names none."""
    return (answer.refusal.permission if answer.refusal else None) or ""


def access_table(found: list[Access]) -> str:
    """Return the table that a person reads."""
    words = {True: "yes", False: "no", None: "?"}
    width = max(len(each.stream) for each in found)
    rows = [f"{each.stream:<{width}}  {words[each.readable]:<8}  {each.note}" for each in found]
    readable = sum(each.readable is True for each in found)
    denied = sum(each.readable is False and not each.not_set_up for each in found)
    not_set_up = sum(each.not_set_up for each in found)
    unknown = len(found) - readable - denied - not_set_up
    head = [f"{'stream':<{width}}  readable  why not", f"{'-' * width}  --------  -------"]
    counts = f"{readable} streams can be read, {denied} may not be with this key, {unknown} could not be tried, "
    foot = ["", f"{counts}{not_set_up} are of products that the account does not use."]
    if lacking := sorted({each.lacks for each in found if each.lacks}):
        foot.append(f"Permissions that the key lacks: {', '.join(lacking)}.")
    return "\n".join(line.rstrip() for line in head + rows + foot)


def _request(a_list: StripeList, examples: Mapping[str, dict[str, Any]]) -> Iterator[Request]:
    """Yield the request that tries a list, if a parent to try it with is known."""
    if not a_list.passes:
        return
    parameters: dict[str, Any] = dict(a_list.passes[0])
    if a_list.paged:
        parameters["limit"] = 1
    path = a_list.path
    if a_list.parent is not None:
        value, record = _parent_value(a_list, examples)
        if value is None:
            return
        if f"{{{a_list.parameter}}}" in path:
            path = path.replace(f"{{{a_list.parameter}}}", quote(value, safe=""))
        elif a_list.parameter:
            parameters[a_list.parameter] = value
        for parameter, source in a_list.parameters.items():
            named = reference_id(field_value(record, source)[1])
            if named is None:
                return
            parameters[parameter] = named
    yield Request(path=path, endpoint=a_list.path, parameters=parameters, purpose=a_list)


def _parent_value(a_list: StripeList, examples: Mapping[str, dict[str, Any]]) -> tuple[str | None, dict[str, Any]]:
    for ask in a_list.asks:
        record = examples.get(ask.of)
        if record is not None:
            value = reference_id(field_value(record, ask.by)[1])
            if value is not None:
                return value, record
    return None, {}


def _elements(answer: Answer, *, single: bool) -> list[dict[str, Any]]:
    if answer.verdict is not Verdict.TAKE:
        return []
    if single:
        return [answer.body]
    found = answer.body.get("data")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _access(stripe_object: StripeObject, answers: Mapping[StripeList, Answer]) -> Access:
    lists = [each for each in STRIPE_LISTS if stripe_object.name in each.objects and each.passes]
    if not lists:
        return Access(stream=stripe_object.stream, readable=None, note="arrives inside other objects or in events")
    tried = {each: answers[each] for each in lists if each in answers}
    for each, answer in tried.items():
        if answer.verdict in _REFUSALS:
            partly = any(other.verdict not in _REFUSALS for other in tried.values())
            note = f"{each.path}: {refusal_reason(answer)}" + (" (the rest can be read)" if partly else "")
            not_set_up = not partly and answer.verdict is Verdict.NOT_SET_UP
            return Access(
                stream=stripe_object.stream,
                readable=partly,
                note=note,
                not_set_up=not_set_up,
                lacks=_lacked_permission(answer),
            )
    if tried:
        return Access(stream=stripe_object.stream, readable=True)
    asked_of = {ask.of for each in lists for ask in each.asks}
    parents = [each for each in STRIPE_LISTS if asked_of & set(each.objects) and each in answers]
    words = ", ".join(sorted(map(stream_name, asked_of)))
    if parents and all(answers[each].verdict in _REFUSALS for each in parents):
        not_set_up = all(answers[each].verdict is Verdict.NOT_SET_UP for each in parents)
        note = f"found through {words}, which cannot be read"
        return Access(stream=stripe_object.stream, readable=False, note=note, not_set_up=not_set_up)
    return Access(stream=stripe_object.stream, readable=None, note=f"there is no {words} to try it with")
