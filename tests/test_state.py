"""Where lies what must outlive restarts, and who may write there."""

import stat

import pytest

from suuupra_gateway.config.model import ApiKeysSpec, ProcessSpec
from suuupra_gateway.config.units import Secret
from suuupra_gateway.state import keys_file, place, state_directory

KEYS = ApiKeysSpec(peppers=(Secret("p" * 40),))


def test_the_configured_directory_comes_before_the_managers():
    manager = {"STATE_DIRECTORY": "/var/lib/first:/var/lib/second"}
    assert str(place(ProcessSpec(state_dir="/srv/state"), manager)) == "/srv/state"
    assert str(place(ProcessSpec(), manager)) == "/var/lib/first"
    assert place(ProcessSpec(), {}) is None


def test_it_is_made_for_its_owner_alone(tmp_path):
    made = state_directory(ProcessSpec(state_dir=str(tmp_path / "a" / "b")), {})
    assert made == tmp_path / "a" / "b"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert state_directory(ProcessSpec(state_dir=str(made)), {}) == made, "also if it is there"


def test_none_is_made_if_nobody_names_one():
    assert state_directory(ProcessSpec(), {}) is None


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_one_that_others_can_write_to_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    with pytest.raises(PermissionError, match="others can write"):
        state_directory(ProcessSpec(state_dir=str(tmp_path)), {})


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_one_that_others_can_only_read_is_taken(tmp_path, mode):
    tmp_path.chmod(mode)
    assert state_directory(ProcessSpec(state_dir=str(tmp_path)), {}) == tmp_path


def test_one_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    monkeypatch.setattr("suuupra_gateway.state._TRUSTED", frozenset())
    with pytest.raises(PermissionError):
        state_directory(ProcessSpec(state_dir=str(tmp_path)), {})


def test_keys_lie_in_their_own_file_else_in_the_state_directory_else_nowhere(tmp_path):
    named = KEYS.model_copy(update={"file": "/srv/keys.sqlite"})
    assert keys_file(named, ProcessSpec(state_dir="/srv/state"), {}) == "/srv/keys.sqlite"
    assert keys_file(KEYS, ProcessSpec(state_dir="/srv/state"), {}) == "/srv/state/api-keys.sqlite"
    assert keys_file(KEYS, ProcessSpec(), {}) == ""
