"""The board of plans that nobody will serve by."""

from suuupra_gateway.auth.board import QuietBoard
from suuupra_gateway.interfaces import NoAnswer


def test_it_knows_nothing_hears_nothing_and_answers_nothing():
    board, called, failures = QuietBoard(), [], []
    ends = [board.watch("t", called.append), board.listen("t", called.append)]
    board.tell("t", b"event")
    board.ask("t", b"?").addErrback(failures.append)
    assert called == []
    assert failures[0].check(NoAnswer)
    for end in ends:
        end()
        end()
