"""Results told in a sentence each; the sentences are also the titles of the plots."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from .standing import (
    FLOOR,
    OURS,
    VARIED,
    Row,
    contests,
    count,
    net,
    number,
    number_or,
    of_floor,
    printable,
    ratio,
    standings,
)  # fmt: skip
from .standing import seconds as in_seconds
from .standing import size as in_mb


def told(contest: Row) -> str:
    """Say how long pgmend took over a table, and the quickest other that found everything."""
    where = f"{count(number(contest, 'rows'))} rows of {printable(contest.get('table'), 60)}"
    standing = {one.name: one for one in standings(contest)}
    floor, ours = standing.pop(FLOOR, None), standing.pop(OURS, None)
    if ours is None:
        return f"At {where}, pgmend was not run"
    if ours.failed:
        return f"At {where}, pgmend failed in {len(ours.failed)} of {len(ours.runs)} rounds"
    text = f"At {where}, a scan took {in_seconds(ours.middle('net'))}"
    if floor and ours.times:
        text += f", {ours.times:.2f} times the floor"
    if swept := ours.middle("sweep_seconds"):
        text += f", and its sweep {in_seconds(swept)} more"
    if ours.incomplete:
        text += f", but it was {ours.note}"
    timed = [(took, one) for one in standing.values() if (took := one.middle("net")) is not None]
    whole = [pair for pair in timed if all(run.get("complete") is True for run in pair[1].runs)]
    whole = [pair for pair in whole if not pair[1].failed]
    if not whole:
        return f"{text}; nothing else that was run found every group" if standing else text
    least, best = min(whole, key=lambda pair: pair[0])
    text += f"; the quickest other that found every group, {best.name}, took {in_seconds(least)}"
    more = ratio(least, ours.middle("net"))
    return text if more is None else f"{text}, {more:.2f} times as long"


def told_memory(contest: Row) -> str:
    """Say what pgmend took of memory and disk."""
    standing = [one for one in standings(contest) if one.name not in {OURS, FLOOR}]
    ours = next((one for one in standings(contest) if one.name == OURS), None)
    if ours is None:
        return "pgmend was not run"
    text = f"pgmend took at most {in_mb(ours.most('rss_bytes'))} of memory"
    if (server := ours.most("server_private_bytes")) is not None:
        text += f" and {in_mb(server)} in the server"
    files = number_or(ours.most("temp_bytes"), 0)
    text += f", and {in_mb(files) if files else 'no'} temporary files"
    if not standing:
        return text
    spilled = sum(1 for one in standing if one.most("temp_bytes"))
    return f"{text}; {spilled} of {len(standing)} others wrote temporary files"


def told_rows(rows: Sequence[Row]) -> str:
    """Say how time and memory grow with the rows."""
    first, last = rows[0], rows[-1]
    more = ratio(number(last, "rows"), number(first, "rows"))
    longer = ratio(net(last), net(first))
    if len(rows) < 2 or more is None or longer is None:
        return "One size alone says nothing about growth"
    text = f"{more:,.4g} times the rows take {longer:,.3g} times as long"
    held = ratio(number(last, "rss_bytes"), number(first, "rss_bytes"))
    return text if held is None else f"{text} and {held:.2f} times the memory"


def told_varied(what: str, field: str, rows: Sequence[Row]) -> str:
    """Say between what multiples of the floor a scan took."""
    known = [(times, printable(row.get(field), 30)) for row in rows if (times := of_floor(row))]
    if not known:
        return f"By {what}: no times that can be compared"
    (low, least), (high, most) = min(known), max(known)
    return f"By {what}, a scan took from {low:.2f} ({least}) to {high:.2f} ({most}) times the floor"


def told_live(rows: Sequence[Row]) -> str:
    """Say what is left of other sessions' transactions beside a scan."""
    by = {row.get("load"): row for row in rows}
    parts = []
    for load in ("beside a scan", "beside a niced scan"):
        kept, slower = (
            ratio(number(by.get(load, {}), field), number(by.get("alone", {}), field))
            for field in ("tps", "p99_ms")
        )
        if kept is not None:
            tail = "" if slower is None else f" (p99 {slower:.2f} times as long)"
            parts.append(f"{kept:.0%} {load}{tail}")
    if not parts:
        return "The loads beside other sessions cannot be compared"
    return f"Other sessions keep of their transactions per second: {', '.join(parts)}"


def told_five(rows: Sequence[Row]) -> str:
    """Say what one pass over five keys saves."""
    by = {row.get("what"): number(row, "seconds") for row in rows}
    more = ratio(by.get("five scans"), by.get("one pass"))
    if more is None:
        return "One pass and five scans cannot be compared"
    return f"Five scans took {more:.2f} times as long as one pass over the same five keys"


def told_kills(rows: Sequence[Row]) -> str:
    """Say how much work was lost by being killed."""
    lost = [value for row in rows if (value := number(row, "seconds_lost")) is not None]
    if not lost:
        return f"Killed {len(rows)} times; what was lost is not known"
    middle, most = in_seconds(median(lost)), in_seconds(max(lost))
    return f"Killed {len(rows)} times and resumed: {middle} of work lost (median), {most} at most"


def titled(results: Row) -> dict[str, str]:
    """Return the plots that there are results for, name to title."""
    sweeps = results.get("sweeps") or {}
    titles = {}
    for name, contest in contests(results):
        if len(standings(contest)) > 1:  # who ran alone is compared with nobody
            titles[f"peers_{name}"] = told(contest)
            titles[f"memory_{name}"] = told_memory(contest)
    if any(net(row) and number(row, "rows") for row in sweeps.get("rows") or ()):
        titles["rows"] = told_rows(sweeps["rows"])
    varied = [
        (times, f"{what}: {printable(row.get(field), 30)}")
        for name, what, field in VARIED
        for row in sweeps.get(name) or ()
        if (times := of_floor(row))
    ]
    if varied:
        (low, least), (high, most) = min(varied), max(varied)
        titles["sweeps"] = f"From {low:.2f} ({least}) to {high:.2f} ({most}) times the floor"
    if sweeps.get("live"):
        titles["live"] = told_live(sweeps["live"])
    return titles
