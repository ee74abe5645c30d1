"""Draw the figure of the concepts page from the package's own layers."""

from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import torch

from mmgcp.layers import newton_schulz_sqrt

OUT = Path(__file__).with_name('concepts.png')


def newton_schulz_gain(eigenvalues: torch.Tensor, iterations: int) -> torch.Tensor:
    """Root that ``iterations`` steps give each eigenvalue of a unit-trace matrix."""
    gains = []
    for value in eigenvalues:
        matrix = torch.diag(torch.stack([value, 1 - value]))[None]
        gains.append(newton_schulz_sqrt(matrix, iterations)[0, 0, 0] / value.sqrt())
    return torch.stack(gains)


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    eigenvalues = torch.logspace(-4, -0.31, 120, dtype=torch.float64)
    for iterations in (3, 5, 7, 9):
        gain = newton_schulz_gain(eigenvalues, iterations)
        left.semilogx(eigenvalues, gain, label=f'N = {iterations}')
    left.axhline(1, color='black', lw=0.8)
    left.axvline(1 / 256, color='grey', ls=':')
    left.set(
        xlabel='eigenvalue / trace',
        ylabel='Newton-Schulz / exact root',
        title='iSQRT-COV: N steps against the root',
    )
    left.legend()
    agreement = torch.linspace(0, 1, 200, dtype=torch.float64)
    for channels in (64, 128, 256):
        scale = 10 / torch.log2(torch.tensor(float(channels)))
        rate = (1 - scale * agreement).clamp(0, 1)
        right.plot(agreement, rate, label=f'C = {channels}')
    right.set(
        xlabel='mean cosine of importance and row sums',
        ylabel='drop rate p',
        title='DropCov: the rate of each batch',
    )
    right.legend()
    figure.tight_layout()
    figure.savefig(OUT, dpi=130)


if __name__ == '__main__':
    main()
