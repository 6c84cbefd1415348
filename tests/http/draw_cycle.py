"""
Writes ``docs/cycle.rst`` from the tables of `suuupra_gateway.http.cycle`: ``python -m tests.http.draw_cycle``.
"""

from pathlib import Path
from textwrap import indent

from suuupra_gateway.http import cycle

PAGE = """The states of an exchange
=========================

An exchange has two halves that run side by side: how far the request has come in, and how far the answer has gone
out. Both are tables in ``suuupra_gateway/http/cycle.py``. This page is made from them by
``python -m tests.http.draw_cycle``, and a test compares the two.

What the channel does next
--------------------------

The row is the state of the request, the column that of the answer.

{table}
* *wait*: something is still to come;
* *next*: the exchange is over, another may follow if the connection is kept;
* *drain*: the answer is out before the request was in: a bounded rest is read and thrown away;
* *close*: the exchange is over, and nobody knows where the next message would begin;
* *abort*: the client must see that the answer is incomplete;
* *release*: somebody else speaks on the connection;
* *never*: cannot be.

How the halves move
-------------------

.. code-block:: dot

{graph}"""


def page() -> str:
    """The whole text."""
    return PAGE.format(table=cycle.table(), graph=indent(cycle.graph(), "    "))


if __name__ == "__main__":
    Path(__file__, "../../../docs/cycle.rst").resolve().write_text(page(), "utf-8")
