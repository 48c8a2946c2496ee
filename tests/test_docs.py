"""The documentation and the code say the same: commands, settings, reasons, errors, topics, links."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from glancein import errors
from glancein.cli.app import app, load_commands
from glancein.domain.advice import ADVICE
from glancein.settings import PREFIX, Settings
from glancein.types import Reason

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TEXTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("demo/*.md"), *ROOT.glob("deploy/**/*.md"), *DOCS.rglob("*.md")]
)


def settings_table() -> str:
    """Every setting with its default, what is allowed, and its help."""
    rows = ["| setting | kind | default | allowed | what it is |", "|---|---|---|---|---|"]
    for entry in fields(Settings):
        rule = entry.metadata
        allowed = ", ".join(map(str, rule.get("choices", ()))) or (
            f"{rule['low']:g} to {rule['high']:g}" if "low" in rule else ""
        )
        default = f"`{entry.default}`" if entry.default != "" else "empty"
        rows.append(f"| `{entry.name}` | {entry.type} | {default} | {allowed} | {rule['help']} |")
    return "\n".join(
        [*rows, "", f"In the environment: `{PREFIX}` and the name in capitals, such as `{PREFIX}SITE`."]
    )


def walk(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, TyperCommand]]:
    """Every command below this one with the words that call it."""
    match command:
        case TyperGroup():
            for name, child in command.commands.items():
                yield from walk(child, (*words, name))
        case TyperCommand():
            yield " ".join(words), command


def commands() -> dict[str, TyperCommand]:
    """``glancein people list`` -> its command."""
    load_commands()
    return dict(walk(get_command(app), ("glancein",)))


def command_reference() -> str:
    """Every command with its help and parameters."""
    parts = []
    for words, command in sorted(commands().items()):
        usage = " ".join(filter(None, [words, *map(argument_word, command.params), "[OPTIONS]"]))
        rows = [parameter_row(parameter) for parameter in command.params]
        table = "\n".join(["| parameter | what it is |", "|---|---|", *rows])
        parts.append(f"## {words}\n\n    {usage}\n\n{' '.join((command.help or '').split())}\n\n{table}")
    return "\n\n".join(parts)


def argument_word(parameter: object) -> str:
    """How an argument stands in the usage line; nothing for an option."""
    if not isinstance(parameter, TyperArgument):
        return ""
    word = str(parameter.metavar or parameter.name).upper() + ("…" if parameter.nargs == -1 else "")
    return word if parameter.required else f"[{word}]"


def parameter_row(parameter: object) -> str:
    """How a parameter is written, and its help."""
    match parameter:
        case TyperOption():
            name, words = ", ".join([*parameter.opts, *parameter.secondary_opts]), parameter.help
        case TyperArgument():
            name, words = str(parameter.metavar or parameter.name).upper(), parameter.help
        case _:
            raise AssertionError(f"a parameter of another kind: {parameter}")
    return f"| `{name}` | {' '.join((words or '').split()).replace('|', '/')} |"


def reasons_table() -> str:
    """Every reason and what the kiosk says."""
    rows = [f"| `{reason.value}` | {ADVICE[reason]} |" for reason in Reason]
    return "\n".join(["| reason | what the kiosk says |", "|---|---|", *rows])


def errors_table() -> str:
    """Every error of ours with the exit code that a command ends with."""
    rows = ["| exit code | error | what it means |", "|---|---|---|", "| 0 | | done |"]
    rows.append("| 1 | | some of several items failed; each is reported |")
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    ours = {kind for kind in kinds if issubclass(kind, errors.GlanceinError)} - {errors.GlanceinError}
    rows += [
        f"| {kind.exit_code} | `{kind.__name__}` | {(kind.__doc__ or '').splitlines()[0]} |"
        for kind in sorted(ours, key=lambda kind: (kind.exit_code, kind.__name__))
    ]
    return "\n".join([*rows, "| 130 | | interrupted |"])


@pytest.mark.parametrize(
    ("page", "block", "write"),
    [
        ("settings.md", "settings", settings_table),
        ("commands.md", "commands", command_reference),
        ("reasons.md", "reasons", reasons_table),
        ("reasons.md", "errors", errors_table),
    ],
    ids=["settings", "commands", "reasons", "errors"],
)
def test_reference_page_says_what_the_code_says(
    page: str, block: str, write: Callable[[], str], *, update_golden: bool
) -> None:
    """The generated part of a page is up to date; pytest --update-golden writes it anew."""
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- generated: {block} -->\n", "<!-- end -->"
    before, rest = text.split(begin)
    written, after = rest.split(end, 1)
    if update_golden:
        path.write_text(f"{before}{begin}{write()}\n{end}{after}", encoding="utf-8")
        return

    assert written == write() + "\n"


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(text: Path) -> None:
    """Every link to a file in the repository leads to one."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]

    assert [link for link in local if not (text.parent / link).exists()] == []


def test_commands_in_the_guides_exist() -> None:
    """Whoever copies a line from a guide meets a command that is there, and options that it has."""
    known = commands()
    wrong = []
    for text in TEXTS:
        for line in re.findall(
            r"(?<=^    )(?:\S*/)?(glancein [^\n#]+)", text.read_text(encoding="utf-8"), re.MULTILINE
        ):
            command = next((known[words] for words in known if f"{line} ".startswith(f"{words} ")), None)
            given = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", line))
            options = {name for p in command.params for name in p.opts} if command else set()
            if command is None or given - options:
                wrong.append(f"{text.name}: {line}")

    assert wrong == []


def test_every_topic_and_schema_is_in_the_protocol() -> None:
    """Each message that has a schema is described, with its topic."""
    protocol = (DOCS / "protocol.md").read_text(encoding="utf-8")
    leaves = {path.name.split(".")[0] for path in (DOCS / "schemas").glob("*.schema.json")}

    assert leaves >= {"event", "state", "ack", "resend"}
    assert [leaf for leaf in leaves - {"left-out"} if f"/{leaf}`" not in protocol] == []
    assert '"kind":"left_out"' in protocol  # it comes on the topic of events, in place of one


def test_every_decision_is_short_and_listed() -> None:
    """Decision records fit on a screen and are found from the front page."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    records = sorted((DOCS / "decisions").glob("*.md"))

    assert [path.name for path in records if path.name not in index] == []
    assert [path.name for path in records if len(path.read_text(encoding="utf-8").splitlines()) > 40] == []


def test_quality_list_is_honest() -> None:
    """What is done can be looked up; what is not done says why."""
    entries = yaml.safe_load((DOCS / "quality.yaml").read_text(encoding="utf-8"))
    wrong = [
        name
        for name, entry in entries.items()
        if not (
            (entry["status"] == "done" and (ROOT / entry["proof"]).exists())
            or (entry["status"] in {"todo", "exempt"} and entry.get("reason"))
        )
    ]

    assert wrong == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_guide_installs_from_a_clone(text: Path) -> None:
    """We publish in no package index: whoever takes the name there would be installed instead."""
    if text.name != "CHANGELOG.md":
        assert not re.search(r"pip install ['\"]?glancein\b", text.read_text(encoding="utf-8"))
