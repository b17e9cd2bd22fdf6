"""The store of an influence result: resumed to the bit, and never a number from a damaged chunk."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sprachbund.errors import InfluenceError, SprachbundWarning, StudyError
from sprachbund.influence import Influence
from sprachbund.store import chunks
from sprachbund.store.writer import InfluenceWriter, Shard
from synthetic_influence import arguments, checkpoints, examples, scores, write, write_pending

TRAIN, TEST = ["en", "de"] * 5, ["en", "ko", "de"]
VALUES = scores(3, len(TEST), len(TRAIN))
N_PIECES = 3 * (1 + 3)  # checkpoints x (the test examples + shards of 4 of 10 training examples)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def chunk_files(folder: Path) -> list[str]:
    return [name for name in content(folder) if "/c/" in name]


def write_some(path: Path, n_pieces: int, values: np.ndarray = VALUES, **given: Any) -> None:
    """Write the first pieces and stop in the middle, as a killed process would."""

    class EnoughError(Exception):
        pass

    writer = InfluenceWriter.create_or_resume(path, **(given or arguments(TRAIN, TEST)))
    done = 0
    store: Callable[..., None] = writer._store

    def counted(*args: Any) -> None:
        nonlocal done
        if done == n_pieces:
            raise EnoughError
        store(*args)
        done += 1

    writer._store = counted  # type: ignore[method-assign]
    with writer:
        try:
            write_pending(writer, values)
        except EnoughError:
            return


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    given = arguments(TRAIN, TEST)
    dataset = write(tmp_path / "influence.zarr", VALUES, given).dataset
    np.testing.assert_array_equal(dataset["influence"].values, VALUES)
    np.testing.assert_array_equal(dataset["train_loss"].values, [np.arange(10) + 0.25] * 3)
    np.testing.assert_array_equal(dataset["train_gradient_norm"].values, [np.arange(10) + 2.0] * 3)
    np.testing.assert_array_equal(dataset["test_loss"].values, [[0.5, 1.5, 2.5]] * 3)
    assert dataset["test_prediction"].values.tolist() == [["no", "yes", "no"]] * 3
    assert dataset["test_probability"].dtype == np.float32
    for split in ("train", "test"):
        assert dataset[split].values.tolist() == given[split]["id"].tolist()
        for column in ("language", "item", "group", "label", "text", "text_pair"):
            found = dataset[f"{split}_{column}"].values.tolist()
            assert found == given[split][column].tolist(), f"{split}_{column}"
    assert dataset["checkpoint"].values.tolist() == [0, 10, 20]
    assert dataset["learning_rate"].values.tolist() == [0.0, 0.3, 0.1]
    assert [path.name for path in tmp_path.iterdir()] == ["influence.zarr"], "something is left"


def test_plain_xarray_opens_it_without_a_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        for kind in (UserWarning, RuntimeWarning, FutureWarning):  # what a user would see
            warnings.simplefilter("error", kind)
        write(tmp_path / "influence.zarr", VALUES, arguments(TRAIN, TEST))
        dataset = xr.open_zarr(tmp_path / "influence.zarr")
        is_german = (dataset.train_language == "de").compute()
        german = dataset["influence"].where(is_german, drop=True)
        assert german.sizes == {"checkpoint": 3, "test": 3, "train": 5}
    assert {"train_language", "train_item", "train_label", "test_text"} <= set(dataset.coords)
    assert dataset.attrs["labels"] == ["no", "yes"]


def test_scores_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    influence = write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    assert not influence.dataset["influence"].variable._in_memory


def test_every_array_ends_in_a_checksum(tmp_path: Path) -> None:
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    arrays = list((tmp_path / "i").glob("*/zarr.json"))
    assert len(arrays) == 5 + 12 + 7
    for path in arrays:
        assert json.loads(path.read_text())["codecs"][-1]["name"] == "crc32c", path


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=8, deadline=None)
@given(texts=st.lists(text, min_size=3, max_size=3))
def test_any_text_survives(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    given = arguments(TRAIN, TEST)
    given["test"]["text"] = texts
    given["test"]["text_pair"] = texts[::-1]
    dataset = write(tmp_path_factory.mktemp("t") / "i", VALUES, given).dataset
    assert dataset["test_text"].values.tolist() == texts
    assert dataset["test_text_pair"].values.tolist() == texts[::-1]


@settings(max_examples=8, deadline=None)
@given(stops=st.lists(st.integers(0, N_PIECES), max_size=3))
def test_resuming_at_any_points_gives_the_same_bytes(
    stops: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("resume")
    write(folder / "whole", VALUES, arguments(TRAIN, TEST))
    for stop in stops:
        write_some(folder / "parts", stop)
    write(folder / "parts", VALUES, arguments(TRAIN, TEST))
    assert content(folder / "parts") == content(folder / "whole")


def test_what_is_whole_is_not_computed_again(tmp_path: Path) -> None:
    write_some(tmp_path / "i", 6)
    with InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST)) as writer:
        assert not writer.test_pending(0)
        assert writer.pending(0) == []
        assert not writer.test_pending(1)
        assert writer.pending(1) == [Shard(1, 4, 8), Shard(1, 8, 10)]
        assert write_pending(writer, VALUES) == N_PIECES - 6


KILLED = """
    import os, sys
    sys.path.insert(0, {tests!r})
    from synthetic_influence import *
    values = scores(3, 3, 10)
    given = arguments(["en", "de"] * 5, ["en", "ko", "de"])
    calls = 0
    def audit(event, args):  # dies at the n-th touch of the file system below the folder
        global calls
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and {folder!r} in str(args[0]):
            calls += 1
            if calls == {n}:
                os.kill(os.getpid(), 9)
    sys.addaudithook(audit)
    from pathlib import Path
    write(Path({folder!r}) / "i", values, given)
    print(calls)
"""


def run_killed(folder: Path, n: int) -> subprocess.CompletedProcess[str]:
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder), n=n)
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "whole", VALUES, arguments(TRAIN, TEST))
    (tmp_path / "count").mkdir()
    counted = run_killed(tmp_path / "count", -1)
    assert counted.returncode == 0, counted.stderr
    n_calls = int(counted.stdout)
    points = np.random.default_rng(0).integers(1, n_calls, size=7)
    for n in [*points.tolist(), n_calls - 2, n_calls - 8]:
        folder = tmp_path / f"killed-{n}"
        folder.mkdir(exist_ok=True)
        died = run_killed(folder, n)
        assert died.returncode == -signal.SIGKILL, died.stderr
        done = {path.name for path in (folder / "i.partial" / "ledger").glob("*")}
        with InfluenceWriter.create_or_resume(folder / "i", **arguments(TRAIN, TEST)) as writer:
            if not (folder / "i").exists():
                assert write_pending(writer, VALUES) == N_PIECES - len(done)
            writer.finish()
        assert content(folder / "i") == content(tmp_path / "whole"), f"killed at call {n}"
        assert [path.name for path in folder.iterdir()] == ["i"]


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap_for_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("harm", [flip_byte, truncate, empty, swap_for_zeros, Path.unlink])
def test_every_damaged_chunk_is_named_and_never_a_number(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    whole = content(tmp_path / "i")
    names = chunk_files(tmp_path / "i")
    assert len(names) == 3 * (3 * 3 + 4) + 17
    for name in names if harm is flip_byte else names[::6]:
        harm(tmp_path / "i" / name)
        with pytest.raises(InfluenceError) as caught:
            Influence.open(tmp_path / "i").dataset.load()
        assert f'array "{name.split("/")[0]}", chunk file {name} is' in str(caught.value)
        (tmp_path / "i" / name).write_bytes(whole[name])
    Influence.open(tmp_path / "i").dataset.load()


def test_a_chunk_damaged_while_the_result_is_open_is_named(tmp_path: Path) -> None:
    influence = write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    flip_byte(tmp_path / "i" / "influence/c/2/0/1")
    with pytest.raises(InfluenceError, match="chunk file influence/c/2/0/1 is damaged"):
        influence.top_k(3)
    (tmp_path / "i" / "influence/c/2/0/1").unlink()
    with pytest.raises(InfluenceError, match="chunk file influence/c/2/0/1 is missing"):
        influence.total()
    influence.at(10)  # what is not damaged can still be read


def test_a_changed_shape_or_attribute_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    for name in ("zarr.json", "influence/zarr.json"):
        path = tmp_path / "i" / name
        before = path.read_text()
        for old, new in (("crc32c", "gzip"), ("float32", "uint32"), ("tracin", "nicart")):
            if old not in before:
                continue
            path.write_text(before.replace(old, new))
            with pytest.raises(InfluenceError, match=r"zarr.json file was changed"):
                Influence.open(tmp_path / "i")
        path.write_text(before[:-20])
        with pytest.raises(InfluenceError, match=r"zarr.json: cannot be read"):
            Influence.open(tmp_path / "i")
        path.write_text(before)
    Influence.open(tmp_path / "i")


@pytest.mark.parametrize("harm", [flip_byte, truncate, Path.unlink])
def test_a_whole_shard_damaged_before_resuming_is_named_and_can_be_computed_anew(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    write(tmp_path / "whole", VALUES, arguments(TRAIN, TEST))
    write_some(tmp_path / "i", 6)
    store = tmp_path / "i.partial" / "store.zarr"
    for name in chunk_files(store)[::3]:
        before = (store / name).read_bytes()
        harm(store / name)
        with pytest.raises(InfluenceError) as caught:
            InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST))
        assert f'array "{name.split("/")[0]}", chunk file {name} is' in str(caught.value)
        (store / name).write_bytes(before)
    harm(store / "influence/c/0/0/1")
    with pytest.raises(InfluenceError, match=r"delete .*train-0-4$") as caught:
        InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST))
    Path(str(caught.value).rsplit("delete ", 1)[1]).unlink()
    with InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST)) as writer:
        assert writer.pending(0) == [Shard(0, 4, 8)]
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    assert content(tmp_path / "i") == content(tmp_path / "whole")


def test_a_torn_chunk_that_is_not_in_the_ledger_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path / "whole", VALUES, arguments(TRAIN, TEST))
    write_some(tmp_path / "i", 3)
    torn = tmp_path / "i.partial" / "store.zarr" / "influence/c/0/0/2"
    torn.write_bytes(b"half a chunk")
    (torn.parent / "2.0123abc.partial").write_bytes(b"what a killed write leaves")
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    assert content(tmp_path / "i") == content(tmp_path / "whole")


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": {"model": "another"}},
        {"method": "tracin-cosine"},
        {"labels": ("no", "yes", "maybe")},
        {"shard_size": 5},
        {"checkpoints": checkpoints((0.0, 0.3, 0.2))},
        {"train": examples("train", ["en"] * 10)},
    ],
)
def test_other_arguments_start_afresh_and_say_which(tmp_path: Path, change: dict[str, Any]) -> None:
    write_some(tmp_path / "i", 5)
    given = arguments(TRAIN, TEST) | change
    with pytest.warns(SprachbundWarning, match=f"arguments .{next(iter(change))}.;") as caught:
        writer = InfluenceWriter.create_or_resume(tmp_path / "i", **given)
    with writer:
        assert writer.test_pending(0)
        assert writer.pending(0)[0].start == 0
    assert caught[0].filename == __file__


def test_a_finished_result_is_not_computed_again(tmp_path: Path) -> None:
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    before = content(tmp_path / "i")
    with InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST)) as writer:
        assert write_pending(writer, VALUES) == 0
        writer.finish()
    assert content(tmp_path / "i") == before


def test_a_finished_result_of_other_arguments_is_said_to_be_replaced(tmp_path: Path) -> None:
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    given = arguments(TRAIN, TEST, method="tracin-cosine")
    with pytest.warns(SprachbundWarning, match=r"finished result of other arguments \(method\)"):
        InfluenceWriter.create_or_resume(tmp_path / "i", **given).close()
    assert Influence.open(tmp_path / "i").method == "tracin"


def test_a_finished_result_of_other_arguments_stays_until_it_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    given = arguments(TRAIN, TEST, method="tracin-cosine")
    with InfluenceWriter.create_or_resume(tmp_path / "i", **given) as writer:
        write_pending(writer, VALUES)
        assert Influence.open(tmp_path / "i").method == "tracin"
        writer.finish()
    assert Influence.open(tmp_path / "i").method == "tracin-cosine"
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


def test_a_damaged_finished_result_is_not_taken_for_done(tmp_path: Path) -> None:
    write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    flip_byte(tmp_path / "i" / "influence/c/1/0/0")
    with pytest.raises(InfluenceError, match="influence/c/1/0/0 is damaged"):
        InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST))


def test_a_folder_that_is_not_a_result_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "thesis.tex").write_text("years of work")
    with pytest.raises(InfluenceError, match="is not an influence result; move it away"):
        InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST))
    assert (tmp_path / "i" / "thesis.tex").exists()


def test_finish_refuses_while_anything_is_pending(tmp_path: Path) -> None:
    write_some(tmp_path / "i", N_PIECES - 1)
    with (
        InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST)) as writer,
        pytest.raises(InfluenceError, match="1 training shards and the test examples of 0"),
    ):
        writer.finish()
    with pytest.raises(InfluenceError, match=r"is not finished .i.partial is there.; run it again"):
        Influence.open(tmp_path / "i")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_a_score_that_is_not_a_number_is_refused_by_name(tmp_path: Path, bad: float) -> None:
    with InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST)) as writer:
        shard = writer.pending(1)[1]
        values = {
            "influence": np.zeros((3, 4)),
            "train_gradient_norm": np.ones(4),
            "train_loss": np.ones(4),
        }
        values["influence"][2, 1] = bad
        with pytest.raises(
            InfluenceError, match='"train-5", test example "test-2" at checkpoint 10'
        ):
            writer.write(shard, **values)
        values["influence"][2, 1] = 0
        values["train_loss"][3] = bad
        with pytest.raises(InfluenceError, match=r'train_loss is .* "train-7" at checkpoint 10'):
            writer.write(shard, **values)
        assert shard in writer.pending(1)


def test_wrong_shapes_labels_and_shards_are_refused(tmp_path: Path) -> None:
    ones = np.ones(4)
    with InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST)) as writer:
        shard = writer.pending(0)[0]
        with pytest.raises(InfluenceError, match=r"shape \(4, 3\); expected \(3, 4\)"):
            writer.write(
                shard, influence=np.ones((4, 3)), train_gradient_norm=ones, train_loss=ones
            )
        with pytest.raises(InfluenceError, match="not one of the shards"):
            writer.write(
                Shard(0, 2, 6),
                influence=np.ones((3, 4)),
                train_gradient_norm=ones,
                train_loss=ones,
            )
        with pytest.raises(InfluenceError, match='prediction "maybe" is not one of no, yes'):
            writer.write_test(
                0,
                gradient_norm=[1, 1, 1],
                loss=[1, 1, 1],
                prediction=["no", "maybe", "no"],
                probability=[0.5] * 3,
            )
        write_pending(writer, VALUES)
        with pytest.raises(InfluenceError, match="piece train-0-0 is whole already"):
            writer.write(
                shard, influence=np.ones((3, 4)), train_gradient_norm=ones, train_loss=ones
            )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, 'method "magic" is not one of'),
        ({"shard_size": 0}, "shard_size is 0"),
        ({"train": examples("train", [])}, "there are no training examples"),
        (
            {"test": examples("test", TEST).drop(columns="item")},
            "test examples have no column item",
        ),
        ({"test": examples("test", TEST).assign(id="x")}, 'have the id "x" twice'),
        ({"test": examples("test", TEST).assign(item=None)}, "column item holds None"),
        ({"checkpoints": checkpoints().iloc[::-1]}, "not in order of step"),
        ({"checkpoints": checkpoints((0.0, float("nan")))}, "learning rates .*nan"),
        ({"checkpoints": checkpoints(())}, "there are no checkpoints"),
        ({"checkpoints": checkpoints().drop(columns="epoch")}, "no column epoch"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InfluenceError, match=message):
        InfluenceWriter.create_or_resume(tmp_path / "i", **(arguments(TRAIN, TEST) | change))
    assert not list(tmp_path.iterdir())


def test_a_second_writer_is_turned_away_with_the_process_that_writes(tmp_path: Path) -> None:
    with InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST)) as writer:
        with pytest.raises(StudyError, match=f"process {os.getpid()} on .* is writing here"):
            InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST))
        write_pending(writer, VALUES)
        writer.finish()


HOLDING = """
    import sys, time
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from synthetic_influence import *
    given = arguments(["en", "de"] * 5, ["en", "ko", "de"])
    writer = InfluenceWriter.create_or_resume(Path({path!r}), **given)
    print("holding", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    code = HOLDING.format(tests=str(Path(__file__).parent), path=str(tmp_path / "i"))
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        with pytest.raises(StudyError, match=f"process {other.pid} on"):
            InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST))
        other.kill()
        other.wait()
    with InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST)) as writer:
        assert write_pending(writer, VALUES) == N_PIECES


def test_a_closed_writer_writes_no_more(tmp_path: Path) -> None:
    writer = InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST))
    writer.close()
    with pytest.raises(InfluenceError, match="writer is closed"):
        write_pending(writer, VALUES)


def test_a_full_disk_is_one_clear_line_and_costs_only_the_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_some(tmp_path / "i", 5)
    writer = InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with writer, monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(StudyError, match="cannot be written: No space left on device; free"):
            write_pending(writer, VALUES)
    with InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST)) as writer:
        assert write_pending(writer, VALUES) == N_PIECES - 5
        writer.finish()


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StudyError, match=r"file.*: cannot be written: Not a directory"):
        InfluenceWriter.create_or_resume(tmp_path / "file" / "i", **arguments(TRAIN, TEST))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StudyError, match="cannot be written: Permission denied"):
            InfluenceWriter.create_or_resume(tmp_path / "i", **arguments(TRAIN, TEST))
    finally:
        tmp_path.chmod(0o700)


def test_very_many_test_examples_are_split_over_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("contents", "pieces"):
        monkeypatch.setattr(f"sprachbund.store.{module}.MAX_TEST_CHUNK", 2)
    influence = write(tmp_path / "i", VALUES, arguments(TRAIN, TEST))
    assert (tmp_path / "i" / "influence/c/2/1/2").exists()
    np.testing.assert_array_equal(influence.dataset["influence"].values, VALUES)
    chunks.check_chunks(tmp_path / "i", chunk_files(tmp_path / "i"))
