"""The beginning of a scan: the horizon is taken, and the table is cut into segments.

A crash of the server could take the horizon back: it could give the number of a
transaction out again, and what is written under it then would count as written before
the horizon. So the horizon counts once a checkpoint is saved under it, which lasts only
if the horizon does. Until then nothing is lost by another one.
"""

from __future__ import annotations

from dataclasses import asdict

from ..progress import RunStatus
from ..session import Session
from .history import Moment, Witness
from .keyorder import leaf_segments
from .position import block_segments
from .sweep import read_horizon
from .workplace import Workplace


def begun(at: Workplace) -> bool:
    """Tell whether the run has a checkpoint, so that its horizon counts."""
    if at.state.fact("horizon") is None:
        return False
    return at.tally.phase is not RunStatus.SCANNING or at.state.fact("main_blocks") > 0


def begin(at: Workplace) -> None:
    """Cut the table into segments and forget what was read before."""
    at.tally.begin_main_pass()
    at.tally.history = 0
    by_key = at.state.fact("order") == "key"
    leaves = at.table.leaves
    with at.state.commit():
        at.state.move(RunStatus.SCANNING)
        at.state.replace_segments(
            leaf_segments(leaves) if by_key else block_segments(leaves, at.options.jobs)
        )
        at.state.forget_unreadable()
        at.state.save_facts(horizon=None, main_length=0, **at.tally.facts())


def take_horizon(at: Workplace, session: Session, witness: Witness) -> Moment:
    """Take the horizon of this moment; once the moment returned lasts, the horizon does.

    ``session`` is that of ``witness``, so that no crash comes between the two unnoticed.
    """
    horizon = read_horizon(session)
    moment = witness.look()
    at.tally.history = moment.place
    with at.state.commit():
        at.state.save_facts(horizon=asdict(horizon), **at.tally.facts())
    return moment
