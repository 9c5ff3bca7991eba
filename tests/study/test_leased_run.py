"""A run is trained by the holder of its lease alone, from the first step to the record."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from ablate.recipe.schema import Recipe
from ablate.study.lease import LeasedError, LeaseLostError, claim, held
from ablate.study.liveness import Holder, file_time
from ablate.study.run import execute
from ablate.study.states import run_state
from ablate.study.store import Store
from ablate.study.study import Places, prepare_study

ELSEWHERE = Holder("another-node", 1, "another-boot", 1)


def test_a_run_that_another_takes_over_ends_there_and_leaves_no_record(
    tiny: Callable[..., Recipe], cache: Path, tmp_path: Path
) -> None:
    recipe = tiny("budget={match: positions, steps: 2}", "seeds=[0]", "arms.image.controls=[]")
    places = Places(tmp_path / "store", cache, tmp_path / "results")
    job = prepare_study(recipe, places, threads=1).jobs[0]
    folder = Store(places.store).folder(job.identity)
    with ExitStack() as others:

        def steal(_: object) -> None:
            seen = held(folder)
            if seen is not None and seen.host != ELSEWHERE.host:
                for path in folder.glob("lease.*.json"):
                    then = file_time(folder) - 61
                    os.utime(path, (then, then))
                others.enter_context(claim(folder, ELSEWHERE))

        with pytest.raises(LeaseLostError):
            execute(job, steal)
        assert run_state(folder) == "running", "the other's lease is left alone"
        assert not (folder / "record.json").exists()
        assert not list(folder.glob("items*.parquet"))
        with pytest.raises(LeasedError, match="another-node"):
            execute(job)
    # The other has died: what it or the first one saved is gone on from.
    assert execute(job).status == "finished"
    assert run_state(folder) == "finished"
    assert not list(folder.glob("*lease*"))
