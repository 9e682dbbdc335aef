"""What README.md and docs/ say is checked against what is there: settings, commands, paths, links, SQL, names."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tap_stripe_events import bookmarks
from tap_stripe_events.changes import singer_schema
from tap_stripe_events.object_table import STRIPE_LISTS, STRIPE_OBJECTS
from tap_stripe_events.objects import PREVIEWS, KeptBy
from tap_stripe_events.plan import too_old
from target_postgres_stripe.tables import BOOKKEEPING

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BIN = Path(sys.executable).parent
PROJECT = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
PLUGINS = {plugin["name"]: plugin for kind in PROJECT["plugins"].values() for plugin in kind}
# What a reader makes or replaces: the names stand for the reader's own.
READERS_OWN = {
    *("tap.json", "target.json", "state.json", "state.jsonl", "state.sql"),
    *("sync.log", ".venv", ".env", ".gitignore", "output/erd.svg"),
}
BUILT_IN = {"cd", "set", ".", "export"}
ELSEWHERE = {"airflow"}  # which belongs in an environment of its own; `make airflow` tries what is said of it


def about(plugin: str) -> set[str]:
    command = [str(BIN / plugin), "--about", "--format", "json"]
    return set(json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["settings"]["properties"])


def blocks(page: Path, language: str = "sh") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def command_lines(text: str) -> list[list[str]]:
    """Each simple command of a shell script, without the variables set before it and without redirections."""
    commands = []
    for line in text.splitlines():
        for part in re.split(r"\|\||\||&&", line.split(" #", 1)[0]):
            words = shlex.split(part)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if words:
                commands.append(words)
    return commands


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL))


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_the_settings_of_meltano_yml_about_and_the_pages_are_the_same(plugin):
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    block = re.search(rf"<!-- generated: {plugin} settings -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert block, f"no page has a table of {plugin}'s settings"
    told = set(re.findall(r"^\| `(\w+)` \|", block[1], re.MULTILINE))
    defined = {setting["name"] for setting in PLUGINS[plugin]["settings"]}
    assert told == defined == about(plugin)


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_the_definition_for_other_projects_has_the_same_settings(plugin):
    definition = yaml.safe_load((ROOT / "plugins" / f"{plugin}.yml").read_text(encoding="utf-8"))
    assert definition["settings"] == PLUGINS[plugin]["settings"]
    assert definition["executable"] == plugin


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(page):
    named = set(re.findall(r"\bmake ([a-z]+)\b", "\n".join([*inline_code(page), *blocks(page)])))
    assert named <= make_targets()


def test_every_make_target_says_what_it_does():
    described = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert make_targets() == described


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_is_named_exists(page):
    paths = {code.rstrip("/") for code in inline_code(page) if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", code)}
    looks_like_path = {path for path in paths if "/" in path or path.endswith((".py", ".md", ".yml", ".toml", ".json"))}
    missing = {path for path in looks_like_path - READERS_OWN if not (ROOT / path).exists()}
    # A module is named without its folder where the sentence is about its package.
    missing = {path for path in missing if not list(ROOT.glob(f"*_*/{path}")) and not path.startswith((".venv/", "v1"))}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_shell_block_exists(page):
    for block in blocks(page):
        for words in command_lines(block):
            program = words[0].removeprefix(".venv/bin/")
            assert program in BUILT_IN | ELSEWHERE or shutil.which(program, path=f"{BIN}:/usr/bin:/bin"), program


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_every_meltano_command_of_a_shell_block_is_one(page, tmp_path):
    # A copy: even --help writes to meltano.yml.
    shutil.copy(ROOT / "meltano.yml", tmp_path)
    for words in [words for block in blocks(page) for words in command_lines(block)]:
        if words[0] != "meltano":
            continue
        subcommands = [word for word in words[1:3] if re.fullmatch("[a-z]+", word)]
        subcommands = subcommands if words[1] in {"config", "state", "schedule"} else subcommands[:1]
        command = [BIN / "meltano", *subcommands, "--help"]
        if words[1] == "invoke":  # what follows the plugin's name is for the plugin
            assert words[2] in PLUGINS
            command = [BIN / words[2], "--help"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, words
        for option in [word for word in words if word.startswith("--")]:
            assert option in done.stdout, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_is_named_by_its_variable_exists(page):
    variables = {setting["env"] for plugin in PLUGINS.values() for setting in plugin["settings"]}
    assert set(re.findall(r"\b(?:TAP|TARGET|STRIPE_PROXY)_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8"))) <= variables


def test_every_plugin_job_and_state_of_the_readme_is_in_meltano_yml():
    jobs = {job["name"] for job in PROJECT["jobs"]}
    schedules = {schedule["name"]: schedule["job"] for schedule in PROJECT["schedules"]}
    assert set(schedules.values()) <= jobs
    assert set(re.findall(r"schedule run (\S+?)[`\s]", README)) <= set(schedules)
    environments = {environment["name"] for environment in PROJECT["environments"]}
    tap, target = (PROJECT["plugins"][kind][0]["name"] for kind in ("extractors", "loaders"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for environment in re.findall(rf"(\w+):{tap}-to-{target}", text) + re.findall(r"--environment (\w+)", text):
        assert environment in environments


def test_ci_runs_what_people_run():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make .*$", script, re.MULTILINE) == ["make check", "make test", "make bench-ci"]


def test_the_table_of_streams_is_of_all_streams():
    table = re.search(r"<!-- generated: streams -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert table
    streams = re.findall(r"^\| `(\w+)` \|", table[1], re.MULTILINE)
    assert len(streams) == len(set(streams))
    said = re.search(r"Schema `stripe` with (\d+) tables", README)
    assert said
    assert int(said[1]) == len(streams)


def test_what_is_said_of_types_without_events_is_so():
    said = re.search(r"(\d+) object types have no events at all, and those of (\d+) others leave something out", README)
    assert said
    listed = {name for each in STRIPE_LISTS for name in each.objects}
    silent = [name for name in listed if not STRIPE_OBJECTS[name].events]
    partly = [name for name in listed if STRIPE_OBJECTS[name].partly]
    assert (int(said[1]), int(said[2])) == (len(silent), len(partly))


def told(header: str) -> set[str]:
    """The code in the first column of a table of the page about operating, by the head of that column."""
    table = re.search(rf"^\| {re.escape(header)} \|.*\n\| ---.*\n((?:\|.*\n)+)", OPERATING, re.MULTILINE)
    assert table, header
    cells = [row.split("|")[1] for row in table[1].splitlines()]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell) or [cell.strip()]}


@pytest.mark.parametrize("table", ["_sync", "_sync_status"])
def test_every_column_of_a_status_table_is_told(table):
    columns = {each.split()[0] for each in BOOKKEEPING[table] if not each.startswith("PRIMARY KEY")}
    assert told(f"column of `{table}`") == columns


def test_everything_that_keeps_a_stream_fresh_is_told():
    row = re.search(r"^\| `kept_by` \| (.*) \|$", OPERATING, re.MULTILINE)
    assert row
    assert {each.value for each in KeptBy} <= set(re.findall(r"`(\w+)`", row[1]))


def test_every_field_of_a_bookmark_is_told():
    shown = inspect.cleandoc(bookmarks.__doc__ or "").partition('"bookmarks": {"charge": {')[2]
    shown = shown.partition("With `connected_accounts`")[0]
    fields = set(re.findall(r'"(\w+)":', shown))
    inner = {"list", "from", "to", "after", "after_created", "since", "tried_at", "reason", "not_set_up"}
    assert inner <= fields
    assert told("field") == fields - inner
    assert all(
        f"`{each}`" in OPERATING for each in inner | {"account", "accounts", "closed", "written_at", "polled_at"}
    )


def test_every_reason_for_a_request_is_told():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tap_stripe_events").glob("*.py")]
    code = "\n".join(sources)
    for each in told("reason") - {"others", "tried again"}:
        assert f'"{each}"' in code, each
    # What the code says: `reason="…"`, `reason = "…"`, and what `_why_read_again` returns.
    given = set(re.findall(r'reason(?:: str(?: \| None)?)? ?= ?"([^"]+)"(?: if .* else "([^"]+)")?', code))
    why = re.search(r"def _why_read_again.*?\n    def ", code, re.DOTALL)
    assert why
    found = {each for pair in given for each in pair if each} | set(re.findall(r'return "(\w+)"', why[0]))
    assert {"polls", "ties", "refreshes", "child lists after events"} <= found
    assert found <= told("reason")


def test_the_pause_after_which_everything_is_listed_is_as_said():
    days = 29
    now = 60 * 86_400
    assert f"more than {days} days" in README
    assert not too_old(now - days * 86_400, now)
    assert too_old(now - days * 86_400 - 1, now)


SCHEMAS = [
    {"type": "SCHEMA", "stream": each.stream, "schema": singer_schema(each.name), "key_properties": list(each.key)}
    for each in (*STRIPE_OBJECTS.values(), *PREVIEWS.values())
]


def load(database: str, *states: dict[str, Any], schemas: bool = False) -> subprocess.CompletedProcess[str]:
    """Give the target these states, and nothing else but schemas, for tables without rows."""
    told = [{"type": "STATE", "value": state} for state in states]
    messages = "".join(json.dumps(each) + "\n" for each in [*told, *(SCHEMAS if schemas else [])])
    command = [BIN / "target-postgres-stripe", "--config", "ENV"]
    environment = {**os.environ, "TARGET_POSTGRES_STRIPE_DATABASE_URL": database}
    return subprocess.run(command, input=messages, env=environment, capture_output=True, text=True, check=False)


STATE = {
    "account": {"id": "acct_1", "livemode": False},
    "written_at": "2026-11-24T09:15:00.250Z",
    "polled_at": "2026-11-24T09:15:00Z",
    "bookmarks": {
        "charge": {"kept_by": "events", "events_as_of": "2026-11-24T09:14:58Z", "open_windows": []},
        "coupon": {"kept_by": "events", "events_as_of": "2026-11-24T09:14:58Z", "denied": {"reason": "no"}},
    },
}


@pytest.fixture
def loaded(database, connection):
    """A session in a database that the target has stored a state in."""
    done = load(database, {"account": STATE["account"], "bookmarks": {}}, STATE)
    assert done.returncode == 0, done.stderr
    return connection


def test_every_sql_block_can_be_run(database, loaded):
    assert load(database, STATE, schemas=True).returncode == 0
    # Those of schema.md need tables, and are in test_schema_docs.py.
    found = [block for page in PAGES if page.name != "schema.md" for block in blocks(page, "sql")]
    assert len(found) >= 8
    for block in found:
        with loaded.transaction(force_rollback=True):
            loaded.execute(block)


def states_made_from_the_tables(loaded) -> list[dict[str, Any]]:
    found = [block for block in blocks(ROOT / "docs" / "operating.md", "sql") if "'bookmarks', (" in block]
    return [loaded.execute(block).fetchone()[0]["singer_state"] for block in found]


def test_the_state_that_is_made_from_the_tables_is_the_state(database, loaded):
    made, _ = states_made_from_the_tables(loaded)
    for key in ("written_at", "polled_at"):
        assert datetime.fromisoformat(made[key]) == datetime.fromisoformat(STATE[key])
    assert (made["account"], made["bookmarks"]) == (STATE["account"], STATE["bookmarks"])
    assert load(database, made).returncode == 0


def test_the_state_that_is_set_back_is_an_earlier_one_and_taken(database, loaded):
    _, made = states_made_from_the_tables(loaded)
    assert made["bookmarks"].keys() == STATE["bookmarks"].keys()
    for stream, bookmark in made["bookmarks"].items():
        before = datetime.fromisoformat(STATE["bookmarks"][stream]["events_as_of"])
        assert datetime.fromisoformat(bookmark["events_as_of"]) <= before
        assert bookmark.keys() == STATE["bookmarks"][stream].keys()
    assert load(database, made).returncode == 0
