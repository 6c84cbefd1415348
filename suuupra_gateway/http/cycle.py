"""
The state of an exchange as two coupled tables: how far the request has come in, how far the answer has gone out.

States and steps are ints. An event is a tuple, indexed by the state in which it happens; what it holds is the next state, or
`NEVER` for a pair that cannot be. On the hot path that is one index and no call::

    after = FINISH[exchange.answer]
    if after < 0: raise impossible("FINISH", exchange.answer)

`STEP[request][answer]` then couples the two: what the channel does next. The idea is h11's, whose states are wider because it
is both client and server. `graph` draws all of it for the documents.
"""

from __future__ import annotations

from typing import Final

NEVER: Final = -1
"""This event cannot happen in this state."""

# -- the request --------------------------------------------------------------------------------------------------------

RECEIVING: Final = 0
"""The head is known, the body is still to come."""

RECEIVED: Final = 1
"""The last byte of the body came, or there is none."""

BROKEN: Final = 2
"""There will be no last byte: the client left, was too slow, sent too much, or nonsense."""

REQUEST_STATES: Final = ("RECEIVING", "RECEIVED", "BROKEN")

#                RECEIVING  RECEIVED  BROKEN
END: Final = (RECEIVED, NEVER, NEVER)
"""The body is complete."""

BREAK: Final = (BROKEN, RECEIVED, BROKEN)
"""No more bytes can be taken from the connection; a request that is complete stays so."""

REQUEST_EVENTS: Final = {"END": END, "BREAK": BREAK}

# -- the answer ---------------------------------------------------------------------------------------------------------

WAITING: Final = 0
"""Nobody has answered yet; 1xx answers may go out."""

HEADED: Final = 1
"""There is a head, which is held until the first byte of the body or the end."""

SENDING: Final = 2
"""The head is on the wire."""

SENT: Final = 3
"""The answer is complete."""

CUT: Final = 4
"""The answer will never be complete."""

DETACHED: Final = 5
"""Somebody else speaks on the connection now."""

ANSWER_STATES: Final = ("WAITING", "HEADED", "SENDING", "SENT", "CUT", "DETACHED")

#               WAITING   HEADED   SENDING  SENT   CUT    DETACHED
START: Final = (HEADED, NEVER, NEVER, NEVER, CUT, NEVER)
"""Somebody begins an answer. After CUT it falls on deaf ears: who answers may learn late that the client is gone."""

SEND: Final = (NEVER, SENDING, SENDING, NEVER, CUT, NEVER)
"""A piece of the answer's body."""

FINISH: Final = (NEVER, SENT, SENT, NEVER, CUT, NEVER)
"""The answer's end."""

STOP: Final = (CUT, CUT, CUT, SENT, CUT, DETACHED)
"""The connection is over, by us or by the client."""

DETACH: Final = (DETACHED, NEVER, NEVER, NEVER, NEVER, NEVER)
"""The connection gets another owner."""

REPLACE: Final = (NEVER, NEVER, NEVER, CUT, CUT, DETACHED)
"""An error took the place of the answer: whoever was making that one may go on, but nobody listens."""

ANSWER_EVENTS: Final = {
    "START": START,
    "SEND": SEND,
    "FINISH": FINISH,
    "STOP": STOP,
    "DETACH": DETACH,
    "REPLACE": REPLACE,
}

# -- both ---------------------------------------------------------------------------------------------------------------

WAIT: Final = 0
"""Something is still to come."""

NEXT: Final = 1
"""The exchange is over; another may follow if the connection is kept."""

DRAIN: Final = 2
"""The answer is out before the request was in: read a bounded rest and throw it away."""

CLOSE: Final = 3
"""The exchange is over, and where the next message would begin is not known."""

ABORT: Final = 4
"""The client must see that the answer is incomplete."""

RELEASE: Final = 5
"""Let go of the connection."""

STEPS: Final = ("WAIT", "NEXT", "DRAIN", "CLOSE", "ABORT", "RELEASE")

STEP: Final = (
    #            WAITING HEADED SENDING SENT  CUT    DETACHED
    (WAIT, WAIT, WAIT, DRAIN, ABORT, NEVER),  # RECEIVING
    (WAIT, WAIT, WAIT, NEXT, ABORT, RELEASE),  # RECEIVED
    (WAIT, WAIT, WAIT, CLOSE, ABORT, NEVER),  # BROKEN
)
"""What the channel does in each pair of states; NEVER for pairs that cannot be."""


class ImpossibleStep(RuntimeError):
    """Somebody called the methods of an exchange in an order that makes no answer. A bug of the caller."""


def impossible(event: str, answer: int) -> ImpossibleStep:
    """The exception for ``event`` in the answer's state ``answer``."""
    return ImpossibleStep(f"{event} while the answer is {ANSWER_STATES[answer]}")


def graph() -> str:
    """The tables as Graphviz text, for ``docs/cycle.rst``."""
    lines = ["digraph cycle {", "    rankdir=LR;", "    node [shape=box];"]
    for title, states, events in (
        ("request", REQUEST_STATES, REQUEST_EVENTS),
        ("answer", ANSWER_STATES, ANSWER_EVENTS),
    ):
        lines += [f"    subgraph cluster_{title} {{", f'        label="{title}";']
        edges: dict[tuple[str, str], list[str]] = {}
        for event, table in events.items():
            for state, after in enumerate(table):
                if after not in (NEVER, state):
                    edges.setdefault((states[state], states[after]), []).append(event)
        lines += [f'        {a} -> {b} [label="{", ".join(names)}"];' for (a, b), names in edges.items()]
        lines.append("    }")
    return "\n".join([*lines, "}"]) + "\n"


def table() -> str:
    """`STEP` as a reST table, for ``docs/cycle.rst``."""
    rows: list[tuple[str, ...]] = [("request", *ANSWER_STATES)]
    for request, steps in zip(REQUEST_STATES, STEP, strict=True):
        rows.append((f"**{request}**", *("never" if step == NEVER else STEPS[step].lower() for step in steps)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = "  ".join("=" * width for width in widths)
    body = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([rule, body[0], rule, *body[1:], rule]) + "\n"
