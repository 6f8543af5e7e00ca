"""What ``xfeat sweep`` prints."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xfeat.cli.eval_stated import WIDTH, head
from xfeat.cli.output import counted, table, width, wrap

if TYPE_CHECKING:
    from xfeat.sweep.best import Result
    from xfeat.sweep.config import SweepConfig
    from xfeat.sweep.folder import Record

MOST_ROWS = 20
MOST_FAILED = 3


def heading(config: "SweepConfig", over: int) -> str:
    """What is about to be done; ``over`` trials of it are."""
    from xfeat.sweep.config import TRIALS

    count = (config.trials or TRIALS) if config.search == "tpe" else len(config.listed())
    seeds = f"seed{'s' if len(config.seeds) > 1 else ''} {', '.join(map(str, config.seeds))}"
    line = f"{config.method}: {counted(count, 'trial')} ({config.search}, {seeds}), {config.measure} on val rows"
    return line + (f"; {over:,} over already, going on" if over else "")


def trial_line(config: "SweepConfig", record: "Record") -> str:
    """How one trial ended."""
    end = f"failed: {record.error}" if record.score is None else f"val {config.measure} {_score(record)}"
    return f"trial {record.number:04d}: {_words(record.values)}: {end} ({record.seconds:.1f} s)"


def show(result: "Result") -> str:
    """The trials, best first, where they lie, and what to do next."""
    records, best = result.records, result.best
    finished = [one for one in records if one.score is not None]
    stated = best.protocol
    order = "lowest" if result.config.lower else "highest"
    lines = [
        f"{result.config.method}: {counted(len(records), 'trial')}, {order} {result.config.measure} first "
        f"({result.config.search})",
        head({**stated, "split": "val" + (": rows that training held out from train" if "held_out" in stated else "")}),
        _trials(finished[:MOST_ROWS], list(result.config.space), result.config.measure),
    ]
    if len(finished) > MOST_ROWS:
        lines.append(f"  and {len(finished) - MOST_ROWS:,} more in {result.path / 'sweep.json'}")
    if len(result.config.seeds) > 1:
        lines.append(f"  mean +- standard deviation over seeds {', '.join(map(str, result.config.seeds))}")
    lines += _failed(records[len(finished) :])
    train, final = result.commands(result.config.caches)
    return "\n".join(
        [
            *lines,
            "  selected on validation rows only; test rows were not read",
            f"best      {result.path / 'best.yaml'}",
            f"trials    {result.path / 'trials'}",
            f"Next: {train}",
            f"then: {final}",
        ]
    )


def _trials(records: Sequence["Record"], names: Sequence[str], metric: str) -> str:
    """Settings as columns; where they do not fit, in lines below each trial."""
    rows = [[f"{one.number:04d}", *(_text(one.values[name]) for name in names), _score(one)] for one in records]
    full = table(["trial", *names, f"val {metric}"], rows)
    if max(map(width, full.split("\n"))) <= WIDTH:
        return full
    short = table(["trial", f"val {metric}"], [[row[0], row[-1]] for row in rows]).split("\n")
    lines = short[:2]
    for line, one in zip(short[2:], records, strict=True):
        lines += [line, *_indented(_words(one.values))]
    return "\n".join(lines)


def _failed(records: Sequence["Record"]) -> list[str]:
    if not records:
        return []
    lines = [f"  {counted(len(records), 'trial')} failed:"]
    for one in records[:MOST_FAILED]:
        lines += _indented(f"{one.number:04d} ({_words(one.values)}): {one.error}")
    return lines + ([f"    and {len(records) - MOST_FAILED:,} more"] if len(records) > MOST_FAILED else [])


def _indented(text: str) -> list[str]:
    return wrap(text, WIDTH, " " * 4, " " * 6)


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_text(value)}" for name, value in values.items())


def _score(record: "Record") -> str:
    spread = "" if record.deviation is None else f" +- {record.deviation:.3f}"
    return f"{record.score:.3f}{spread}"


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
