"""All workers or none; and new workers where a plan alone will not do."""

import os
import stat
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from suuupra_gateway.config.source import Document
from suuupra_gateway.process.fleet import Fleet
from suuupra_gateway.process.generation import (
    Loaded,
    PlanFiles,
    installed_release,
    load,
    remove_orphan,
    slots,
    workers,
)
from suuupra_gateway.process.reload import ReloadFailed, Reloading
from suuupra_gateway.process.sockets import bind
from tests.process.rig import Yard, configuration


class Stage:
    """A fleet whose generations are looked after by a `Reloading`."""

    def __init__(self, directory, count=2):
        self.yard = Yard()
        self.config = configuration(run_dir=str(directory), workers=count)
        self.fleet = Fleet(self.yard.clock, self.yard.launch, lambda: self.reloading.current)
        bound = tuple(bind(listener, count, {}) for listener in self.config.listeners)
        self.reloading = Reloading(None, "", self.loaded(self.config), bound, {}, self.fleet)
        self.fleet.resize(count)
        self.yard.settle()
        for worker in self.yard.workers:
            worker.serving.asked.clear()

    def loaded(self, config):
        return Loaded(Document.from_tree({"routes": []}), config)

    def take(self, config):
        return self.run(self.reloading.take(self.loaded(config)))

    def run(self, coroutine):
        result = []
        Deferred.fromCoroutine(coroutine).addBoth(result.append)
        for _ in range(5):
            self.yard.settle()
        return result

    def asked(self):
        return [worker.serving.asked for worker in self.yard.workers]


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.reloading.close()


def test_all_prepare_before_anybody_commits(stage):
    assert stage.take(stage.config) == [None]
    assert stage.asked() == [["prepare 2", "commit 2"]] * 2
    assert stage.reloading.current.number == 2


def test_nobody_commits_if_one_refuses_and_the_reason_names_it(stage):
    refused = stage.yard.workers[1].serving

    async def refuse(generation, digest, path):
        from suuupra_gateway.process.control import PlanRefused

        raise PlanRefused("route x: no such thing")

    refused.prepare = refuse
    failure = stage.take(stage.config)[0]
    assert failure.check(ReloadFailed)
    assert str(failure.value) == "worker 1: route x: no such thing"
    assert stage.asked() == [["prepare 2", "discard"], []]
    assert stage.reloading.current.number == 1
    assert [child.generation for child in stage.fleet.ready()] == [1, 1]


def test_a_number_is_never_used_twice(stage):
    stage.yard.refuses = 2
    stage.take(stage.config)
    assert stage.take(stage.config) == [None]
    assert stage.reloading.current.number == 3


def test_a_worker_that_dies_meanwhile_is_no_reason_to_refuse(stage):
    stage.yard.hangs = 2
    result = []
    Deferred.fromCoroutine(stage.reloading.take(stage.loaded(stage.config))).addBoth(result.append)
    stage.yard.settle()
    assert result == []
    for worker in list(stage.yard.workers):
        worker.exit("signal 9")
    stage.yard.settle()
    stage.yard.hangs = None
    stage.yard.advance(1)
    assert result == [None]
    assert [child.generation for child in stage.fleet.ready()] == [2, 2]


def test_one_that_came_up_between_prepare_and_commit_catches_up(stage):
    stage.yard.hangs = 2
    result = []
    Deferred.fromCoroutine(stage.reloading.take(stage.loaded(stage.config))).addBoth(result.append)
    stage.yard.settle()
    stage.yard.workers[0].exit("signal 9")
    stage.yard.advance(1)  # its successor takes what is in force
    assert stage.yard.workers[2].serving.asked == ["prepare 1", "commit 1"]
    stage.yard.hangs = None
    stage.yard.workers[1].exit("signal 9")
    stage.yard.advance(1)
    assert result == [None]
    plans = [word for word in stage.yard.workers[2].serving.asked if word.startswith(("prepare", "commit"))]
    assert plans == ["prepare 1", "commit 1", "prepare 2", "commit 2"]


def test_one_that_cannot_commit_is_replaced(stage):
    def forget(generation):
        raise RuntimeError("out of luck")

    stage.yard.workers[0].serving.commit = forget
    assert stage.take(stage.config) == [None]
    assert stage.yard.workers[0].killed
    stage.yard.advance(1)
    assert [child.generation for child in stage.fleet.ready()] == [2, 2]


def test_other_process_settings_take_new_workers(stage):
    config = stage.config.model_copy(update={"gateway": stage.config.gateway.model_copy(update={"name": "other"})})
    assert stage.take(config) == [None]
    assert [worker.gone for worker in stage.yard.workers] == [True, True, False, False]
    assert [worker.serving.asked for worker in stage.yard.workers[2:]] == [["prepare 2", "commit 2"]] * 2


def test_another_number_of_workers_changes_how_many_there_are(stage):
    def sized(count):
        gateway = stage.config.gateway.model_copy(update={"workers": count})
        return stage.config.model_copy(update={"gateway": gateway})

    assert stage.take(sized(4)) == [None]
    assert len(stage.fleet.ready()) == 4
    assert stage.take(sized(1)) == [None]
    assert len(stage.fleet.ready()) == 1


def test_a_listener_that_cannot_be_had_changes_nothing(stage):
    from suuupra_gateway.config.model import ListenerSpec

    more = (*stage.config.listeners, ListenerSpec(name="other", address="192.0.2.1:80"))
    failure = stage.take(stage.config.model_copy(update={"listeners": more}))[0]
    assert failure.check(ReloadFailed)
    assert "listener other" in str(failure.value)
    assert stage.reloading.current.number == 1
    assert len(stage.yard.workers) == 2


def test_if_a_new_worker_does_not_come_up_those_before_it_are_brought_back(stage):
    gateway = stage.config.gateway.model_copy(update={"name": "other"})
    config = stage.config.model_copy(update={"gateway": gateway})
    launch = stage.fleet._launch

    def fail_third(child):
        stage.yard.stillborn = len(stage.yard.workers) == 3
        launch(child)

    stage.fleet._launch = fail_third
    failure = stage.take(config)[0]
    assert failure.check(ReloadFailed)
    assert "slot 1 did not come up" in str(failure.value)
    assert stage.reloading.current.number == 1
    assert [child.generation for child in stage.fleet.ready()] == [1, 1]


def test_a_plan_that_cannot_be_written_changes_nothing(stage, tmp_path):
    for name in os.listdir(tmp_path):
        os.unlink(tmp_path / name)
    os.rmdir(tmp_path)
    failure = stage.take(stage.config)[0]
    os.mkdir(tmp_path)
    assert failure.check(ReloadFailed)
    assert "cannot be handed to workers" in str(failure.value)


def test_replacing_takes_new_workers_for_the_same_plan(stage):
    assert stage.run(stage.reloading.replace()) == [None]
    assert [worker.gone for worker in stage.yard.workers] == [True, True, False, False]
    assert [child.generation for child in stage.fleet.ready()] == [1, 1]


def test_replacing_that_fails_says_so(stage):
    stage.yard.stillborn = True
    failure = stage.run(stage.reloading.replace())[0]
    assert failure.check(ReloadFailed)
    assert len(stage.fleet.ready()) == 2


def test_only_the_plan_in_force_is_kept_on_disk(stage, tmp_path):
    stage.take(stage.config)
    assert os.listdir(tmp_path) == ["plan-2.json"]
    stage.reloading.forget()
    assert os.listdir(tmp_path) == []


# -- generations ------------------------------------------------------------------------------------------------------


def test_plans_are_for_nobody_else_to_read(tmp_path):
    files = PlanFiles(str(tmp_path / "run"))
    path = files.write(1, Document.from_tree({"secret": "x"}))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(files.directory).st_mode) == 0o700


def test_a_plan_is_never_written_through_a_link_that_somebody_left(tmp_path):
    (tmp_path / "plan-1.json").symlink_to(tmp_path / "victim")
    PlanFiles(str(tmp_path)).write(1, Document.from_tree({}))
    assert not (tmp_path / "victim").exists()


def test_the_directory_is_the_configured_one_else_the_managers_else_a_private_one(tmp_path):
    assert PlanFiles("/tmp", {"RUNTIME_DIRECTORY": str(tmp_path)}).directory == "/tmp"
    assert PlanFiles("", {"RUNTIME_DIRECTORY": f"{tmp_path}:/else"}).directory == str(tmp_path)
    private = PlanFiles("", {})
    assert stat.S_IMODE(os.stat(private.directory).st_mode) == 0o700
    private.close()
    assert not os.path.exists(private.directory)


def test_other_files_in_the_directory_are_left_alone(tmp_path):
    (tmp_path / "admin.sock").write_text("")
    files = PlanFiles(str(tmp_path))
    files.write(1, Document.from_tree({}))
    files.close()
    assert os.listdir(tmp_path) == ["admin.sock"]


def test_workers_whose_supervisor_was_killed_remove_the_private_directory_with_all_that_lies_there():
    files = PlanFiles("", {})
    plan = Path(files.directory) / "plan-1.json"
    plan.touch()
    (plan.parent / "decisions.mdb").touch()
    remove_orphan(str(plan))
    remove_orphan(str(plan))  # the next worker
    assert not plan.parent.exists()


def test_workers_whose_supervisor_was_killed_leave_a_directory_that_is_not_their_own(tmp_path):
    plan, other = tmp_path / "plan-1.json", tmp_path / "decisions.mdb"
    plan.touch()
    other.touch()
    remove_orphan(str(plan))
    assert (plan.exists(), other.exists()) == (False, True)


def test_the_installed_release_is_read_from_disk():
    import suuupra_gateway

    assert installed_release() == suuupra_gateway.__version__


def test_auto_is_one_worker_per_core_and_none_is_one_slot():
    assert workers(configuration(workers="auto")) == len(os.sched_getaffinity(0))
    assert (workers(configuration(workers=0)), slots(configuration(workers=0))) == (0, 1)
    assert (workers(configuration(workers=3)), slots(configuration(workers=3))) == (3, 3)


def test_loading_collects_garbage_again_afterwards(tmp_path):
    import gc

    from suuupra_gateway.config.findings import ConfigErrors

    (tmp_path / "gateway.yaml").write_text("nonsense: 1")
    with pytest.raises(ConfigErrors):
        load(str(tmp_path / "gateway.yaml"))
    assert gc.isenabled()
