"""Small data folders and one small RUN that the tests share."""

import os
import shutil
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# convert sets it when a test imports it: what a test starts then must compute as this process does.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import pytest

from limiar.train.config import configured
from limiar.train.data.phantoms import phantoms


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory):
    """160 phantoms."""
    folder = tmp_path_factory.mktemp("phantoms")
    for name, data in phantoms(160, seed=3):
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def request_for(phantom_folder):
    """request_for(out, …) -> a TrainRequest of two quick epochs on the phantoms."""
    from limiar.train.config import INPUT
    from limiar.train.run.request import TrainRequest

    def make(
        out, *changes, model="compact", recipe="limiar", folder=phantom_folder, seed=0, positive=None, spec=None, hosts=None
    ):
        config = configured(recipe, ["epochs=2", "batch=32", "warmup=0", *changes])
        return TrainRequest(
            folder=folder,
            out=out,
            table=None,
            model=model,
            input=spec or INPUT,
            recipe=recipe,
            positive=positive,
            seed=seed,
            config=config,
            hosts=hosts,
        )

    return make


@pytest.fixture(scope="session")
def silent():
    """A Listener that says nothing."""
    from limiar.train.run.request import Listener

    return Listener()


@pytest.fixture(scope="session")
def small_run(tmp_path_factory, request_for, silent):
    """A RUN of three epochs."""
    from limiar.train.run.make_run import make_run

    out = tmp_path_factory.mktemp("small") / "run"
    make_run(request_for(out, "epochs=3"), silent)
    return out


@pytest.fixture(scope="session")
def _stopped(tmp_path_factory, request_for, silent):
    """The folder of an unfinished run: of two epochs it has had one."""
    from limiar.train.fit.unfinished import partial_folder
    from limiar.train.run.make_run import make_run

    def stop(epoch):
        raise KeyboardInterrupt

    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(KeyboardInterrupt):
        make_run(request_for(out), replace(silent, epoch=stop))
    return partial_folder(out)


@pytest.fixture
def unfinished(_stopped, tmp_path):
    """The OUT of a run that was stopped after the first of two epochs; its unfinished folder lies beside it."""
    from limiar.train.fit.unfinished import partial_folder

    shutil.copytree(_stopped, partial_folder(tmp_path / "run"))
    return tmp_path / "run"
