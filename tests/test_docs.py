"""What README.md and docs/ say is checked against what is there: settings, commands, targets, paths, links."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
BIN = Path(sys.executable).parent
PROJECT = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
PLUGINS = {plugin["name"]: plugin for kind in PROJECT["plugins"].values() for plugin in kind}
# What a reader makes or replaces: the names stand for the reader's own.
READERS_OWN = {"tap.json", "target.json", "state.json", "state.jsonl", "sync.log", ".venv", ".env", ".gitignore"}
BUILT_IN = {"cd", "set", "."}


def about(plugin: str) -> set[str]:
    command = [str(BIN / plugin), "--about", "--format", "json"]
    return set(json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["settings"]["properties"])


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


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
def test_the_settings_of_meltano_yml_about_and_readme_are_the_same(plugin):
    block = re.search(rf"<!-- generated: {plugin} settings -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert block, f"README.md has no table of {plugin}'s settings"
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
    text = page.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("https://"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_shell_block_exists(page):
    for block in blocks(page):
        for words in command_lines(block):
            program = words[0].removeprefix(".venv/bin/")
            assert program in BUILT_IN or shutil.which(program, path=f"{BIN}:/usr/bin:/bin"), program


def test_every_meltano_command_of_the_readme_is_one(tmp_path):
    # A copy: even --help writes to meltano.yml.
    shutil.copy(ROOT / "meltano.yml", tmp_path)
    for words in [words for block in blocks(ROOT / "README.md") for words in command_lines(block)]:
        if words[0] != "meltano":
            continue
        subcommands = [word for word in words[1:3] if re.fullmatch("[a-z]+", word)]
        subcommands = subcommands if words[1] in {"config", "state", "schedule"} else subcommands[:1]
        command = [BIN / "meltano", *subcommands, "--help"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, words
        for option in [word for word in words if word.startswith("--")]:
            assert option in done.stdout, words


def test_every_plugin_job_and_state_of_the_readme_is_in_meltano_yml():
    jobs = {job["name"] for job in PROJECT["jobs"]}
    schedules = {schedule["name"]: schedule["job"] for schedule in PROJECT["schedules"]}
    assert set(schedules.values()) <= jobs
    assert set(re.findall(r"schedule run (\S+?)[`\s]", README)) <= set(schedules)
    environments = {environment["name"] for environment in PROJECT["environments"]}
    tap, target = PLUGINS
    for environment in re.findall(rf"(\w+):{tap}-to-{target}", README):
        assert environment in environments


def test_ci_runs_what_people_run():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make .*$", script, re.MULTILINE) == ["make check", "make test"]


def test_the_table_of_streams_is_of_all_streams():
    table = re.search(r"<!-- generated: streams -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert table
    streams = re.findall(r"^\| `(\w+)` \|", table[1], re.MULTILINE)
    assert len(streams) == len(set(streams))
    said = re.search(r"Schema `stripe` with (\d+) tables", README)
    assert said
    assert int(said[1]) == len(streams)
