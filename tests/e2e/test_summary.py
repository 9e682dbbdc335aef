"""What a run says at its end: one line of each command, and the same figures as metrics."""

import json
import re
import signal
from collections import Counter

import pytest

LINE = re.compile(
    r"(?P<how>\w+): (?P<records>\d+) records of (?P<streams>\d+) streams \(.*\) with (?P<requests>\d+) requests "
    r"\((?P<reasons>.*), others (?P<others>\d+), tried again (?P<again>\d+)\), 0 streams to go"
    r"(, .* previews to go .*)?; lag (?P<lag>\d+) s, [\d.]+ s"
)
STRUCTURED = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "singer_sdk.logging.StructuredFormatter"}},
    "handlers": {"err": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "root": {"level": "INFO", "handlers": ["err"]},
}


@pytest.fixture
def account(make_account):
    return make_account("demo")


@pytest.fixture
def pipeline(make_pipeline, account, tmp_path):
    pipeline = make_pipeline(account)
    path = tmp_path / "logging.json"
    path.write_text(json.dumps(STRUCTURED))
    pipeline.environment["SINGER_SDK_LOG_CONFIG"] = str(path)
    return pipeline


def told(log):
    """The messages of a structured log, and the metrics in it."""
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    metrics = [each["metric_info"] for each in entries if "metric_info" in each]
    return [each["message"] for each in entries if "metric_info" not in each], metrics


def line_at_the_end(log):
    """The figures of the tap's last line of its progress."""
    lines = [match for each in told(log)[0] if (match := LINE.fullmatch(each))]
    return {name: int(value) if value.isdigit() else value for name, value in lines[-1].groupdict().items()}


def counted(metrics, name, tag):
    found = Counter()
    for each in metrics:
        if each["metric"] == name:
            found[each["tags"][tag]] += each["value"]
    return found


def test_the_line_at_the_end_and_the_metrics_tell_what_was_read(account, pipeline):
    account.fault("server_error", path="/v1/", probability=0.1, count=5)
    outcome = pipeline.run()
    assert outcome.succeeded, outcome.logs
    requests, records = account.requests(), Counter()
    with pipeline.messages.open() as messages:
        for message in map(json.loads, messages):
            if message["type"] == "RECORD":
                records[message["stream"]] += 1
    line = line_at_the_end(outcome.tap_log)
    assert line["how"] == "Finished"
    assert (line["records"], line["streams"], line["requests"]) == (records.total(), len(records), len(requests))
    assert (line["again"], line["others"]) == (5, 1)
    assert sum(int(count) for count in re.findall(r" (\d+)", line["reasons"])) == line["requests"] - 6
    assert 0 <= line["lag"] <= 30
    _, metrics = told(outcome.tap_log)
    assert counted(metrics, "record_count", "stream") == records
    sent = counted(metrics, "http_request_count", "endpoint")
    assert sent["/v1/charges"] == sum(each["endpoint"] == "GET /v1/charges" for each in requests)
    assert sent.total() == len(requests)
    [duration] = [each for each in metrics if each["metric"] == "sync_duration"]
    assert duration["tags"]["status"] == "succeeded"


def test_a_run_that_is_stopped_says_so(account, pipeline):
    account.control("clock", run=True)
    pipeline.tap_settings["follow"] = True
    with pipeline.start() as running:
        for _ in running.states():
            if "Following the feed" in running.logs():
                break
        running.tap.send_signal(signal.SIGTERM)
        outcome = running.finish()
    assert outcome.tap_code == 143
    assert line_at_the_end(outcome.tap_log)["how"] == "Stopped"
    [stored] = [each for each in told(outcome.target_log)[0] if " rows of " in each]
    assert re.match(r"Finished: [1-9]\d* created, ", stored)
