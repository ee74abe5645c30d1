"""The loop of every analysis that measures runs on a fixed sample of images."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mmgcp.engine.distributed import mine
from mmgcp.utils.progress import progress
from .runs import Batches, Run, RunSpec, load_run, sample_batches

#: Images per forward pass of a classifier, and of a detector or segmenter.
BATCH_SIZES = (32, 4)


def sampled_runs(
    what: str,
    specs: Sequence[RunSpec],
    sizes: tuple[int, int],
    split: str,
    images: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    options: dict | None = None,
    device: str | None = None,
    shared: bool = True,
    parts: int = 1,
) -> Iterator[tuple[dict, Run, Batches, Callable[[], None]]]:
    """Load run after run, draw the sample of each, and show how far it is.

    Args:
        what (str): Name of the analysis, beside the progress bar.
        specs (Sequence[RunSpec]): The runs.
        sizes (tuple[int, int]): Default of ``images`` for a classifier, and for a
            detector or segmenter.
        split (str): Whose data loader the sample comes from.
        images (int, optional): Size of the sample. Defaults to ``sizes``.
        batch_size (int, optional): Defaults to :data:`BATCH_SIZES`.
        seed (int): Seed of the sample, and of the weights where there is no
            checkpoint.
        options (dict, optional): Config overrides.
        device (str, optional): Where to run.
        shared (bool): With several processes, share the batches of each run;
            otherwise share the runs.
        parts (int): Parts that the measurement of a run has.

    Yields:
        tuple: The row of the JSON so far, to be added to; the run; its sample; and
        what to call after each part but the last. When the loop goes on, the row
        gets its ``seconds``.

    Raises:
        ValueError: ``images`` or ``batch_size`` is not positive.
    """
    specs = specs if shared else mine(specs)
    with progress() as bar:
        task = bar.add_task(what, total=parts * len(specs))
        for number, spec in enumerate(specs, 1):
            start = time.perf_counter()
            run = load_run(spec, options, device, seed)
            dense = run.scope != 'mmpretrain'
            sample = sample_batches(
                run,
                split,
                sizes[dense] if images is None else images,
                BATCH_SIZES[dense] if batch_size is None else batch_size,
                seed,
                shared,
            )
            row = {**run.describe(), 'sample': sample.description}
            yield row, run, sample, partial(bar.advance, task)
            row['seconds'] = time.perf_counter() - start
            bar.update(task, completed=parts * number)
