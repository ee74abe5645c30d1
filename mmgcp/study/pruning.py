"""Remove the checkpoints that a finished study no longer needs."""

from mmgcp.utils.files import write_json

from .step import Step, fingerprint, removed_mark


def prune(steps: list[Step], keep: str) -> int:
    """Remove checkpoints and return how many bytes they took.

    Args:
        steps: Steps that are all done.
        keep: ``'last'`` keeps the last checkpoint of each training. ``'report'``
            removes them as well, encoders included. A small file with the fingerprint
            of each stays, so that steps that read it still count as done.
    """
    freed = 0
    for step in steps:
        for file in sorted(step.work_dir.glob('*.pth')):
            if file in (step.result, step.weights):
                if keep == 'last':
                    continue
                write_json(removed_mark(file), fingerprint(file))
            freed += file.stat().st_size
            file.unlink()
        if keep == 'report' and step.resume_mark is not None:
            step.resume_mark.unlink(missing_ok=True)
    return freed
