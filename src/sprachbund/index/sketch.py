"""Compression of per-example gradients: a seeded sign sketch, the same on every device.

Each entry of the gradient is given a random sign and added into one of d numbers (Weinberger et al. 2009, feature
hashing). Inner products are kept in expectation, with a standard deviation of about |a| |b| / sqrt(d): cosines below
1/sqrt(d) cannot be told from zero.
"""

import math
import zlib

import torch
from torch import Tensor

from sprachbund.gradients.buffer import Buffer
from sprachbund.gradients.per_example import (
    DenseGradient,
    OuterGradient,
    PerExampleGradient,
    RowGradient,
    TiedGradient,
    sum_of_squares,
)


class SignSketch:
    """A linear map from the gradient of all parameters to `dimension` numbers, fixed by `seed` and parameter names."""

    def __init__(self, dimension: int, seed: int, device: torch.device) -> None:
        self.dimension, self.device = dimension, device
        self._seed = seed
        self._signs: dict[str, Tensor] = {}
        self._offsets: dict[str, list[int]] = {}
        self._turns: dict[str, tuple[Tensor, Tensor]] = {}
        self._buffer = Buffer()

    def add_to(self, sketch_BD: Tensor, name: str, gradient: PerExampleGradient) -> Tensor:
        """Add one parameter's gradients, compressed, to `sketch_BD`; return their squared norms, [B] float64."""
        match gradient:
            case OuterGradient():
                return self._add_outer(sketch_BD, name, gradient)
            case RowGradient():
                self._add_rows(sketch_BD, name, gradient)
            case DenseGradient():
                # As outer products are, so that it does not matter which way a gradient was found.
                self._add_flat(sketch_BD, name, gradient.longer_first.flat(), 0)
            case TiedGradient():
                self._add_rows(sketch_BD, name, gradient.rows)
                self._add_head(sketch_BD, name, gradient.outer)
        return gradient.squared_norm()

    def _add_outer(self, sketch_BD: Tensor, name: str, gradient: OuterGradient) -> Tensor:
        gradient = gradient.longer_first
        rows, columns = gradient.shape
        squared_norm_B = sketch_BD.new_zeros(len(sketch_BD), dtype=torch.float64)
        for block_BRI, span in self._buffer.written_out(gradient):
            self._add_flat(sketch_BD, name, block_BRI.flatten(1), span.start, rows * columns)
            squared_norm_B += sum_of_squares(block_BRI)
        return squared_norm_B

    def _add_flat(
        self, sketch_BD: Tensor, name: str, flat_BK: Tensor, first: int, numbers: int | None = None
    ) -> None:
        """Entries [first, first + K) of a parameter: entry k goes to number (k + offset of its stretch) mod d.

        Each stretch of d entries has a random offset. One after the other, the entries of a column would meet in few
        numbers, and one strong feature, as large models have, would be all that a cosine shows.
        """
        numbers = numbers or flat_BK.shape[1]
        signs = self._signs_of(name, numbers).to(flat_BK.dtype)
        offsets = self._offsets_of(name, numbers)
        done = 0
        while done < flat_BK.shape[1]:
            stretch, within = divmod(first + done, self.dimension)
            bucket = (within + offsets[stretch]) % self.dimension
            length = min(self.dimension - bucket, self.dimension - within, flat_BK.shape[1] - done)
            span = slice(done, done + length)
            target = sketch_BD[:, bucket : bucket + length]
            target.addcmul_(flat_BK[:, span], signs[first + done : first + done + length])
            done += length

    def _add_rows(self, sketch_BD: Tensor, name: str, gradient: RowGradient) -> None:
        """Row r of a table is turned by a random offset of its own, so that the table's signs need not exist."""
        entries = gradient.coalesced
        width = entries.values_ED.shape[1]
        offset_V, sign_V = self._turns_of(name, gradient.table_rows)
        sign_D = self._signs_of(name, width).to(entries.values_ED.dtype)
        column = torch.arange(width, device=self.device)
        bucket_ED = (offset_V[entries.row][:, None] + column) % self.dimension
        values_ED = entries.values_ED * sign_D * sign_V[entries.row].to(entries.values_ED)[:, None]
        index = entries.example[:, None] * self.dimension + bucket_ED
        sketch_BD.view(-1).index_add_(0, index.flatten(), values_ED.flatten())

    def _add_head(self, sketch_BD: Tensor, name: str, gradient: OuterGradient) -> None:
        """The head of a tied table, by the same map as its rows.

        Turning the outer product's row r by an offset and adding up is a circular convolution of the folded left
        factor with the right one (Pham and Pagh 2013, TensorSketch), so that no [V, D] array is built.
        """
        rows, width = gradient.shape
        offset_V, sign_V = self._turns_of(name, rows)
        sign_D = self._signs_of(name, width).to(sketch_BD.dtype)
        column = torch.arange(width, device=self.device) % self.dimension
        for example, sketch_D in enumerate(sketch_BD):
            left_TV = gradient.left_BTO[example].to(sketch_BD.dtype) * sign_V
            right_TD = gradient.right_BTI[example].to(sketch_BD.dtype) * sign_D
            spectrum = self._spectrum(left_TV, offset_V) * self._spectrum(right_TD, column)
            sketch_D += torch.fft.irfft(spectrum.sum(0), n=self.dimension)

    def _spectrum(self, values_TK: Tensor, bucket_K: Tensor) -> Tensor:
        """Fourier transform of the values added into their buckets, [T, dimension // 2 + 1]."""
        folded = values_TK.new_zeros(len(values_TK), self.dimension)
        spectrum: Tensor = torch.fft.rfft(folded.index_add_(1, bucket_K, values_TK))
        return spectrum

    def _turns_of(self, name: str, rows: int) -> tuple[Tensor, Tensor]:
        """The offset and the sign of each row of a table."""
        if name not in self._turns:
            random = torch.Generator().manual_seed(self._seed_of(name))
            offset_V = torch.randint(0, self.dimension, (rows,), generator=random)
            sign_V = torch.randint(0, 2, (rows,), generator=random) * 2 - 1
            self._turns[name] = offset_V.to(self.device), sign_V.float().to(self.device)
        return self._turns[name]

    def _signs_of(self, name: str, numbers: int) -> Tensor:
        if name not in self._signs:
            random = torch.Generator().manual_seed(self._seed_of(name))
            signs = torch.randint(0, 2, (numbers,), generator=random, dtype=torch.int8) * 2 - 1
            self._signs[name] = signs.float().to(self.device)
        return self._signs[name]

    def _offsets_of(self, name: str, numbers: int) -> list[int]:
        """Of each stretch of `dimension` entries."""
        if name not in self._offsets:
            random = torch.Generator().manual_seed(self._seed_of(f"offsets of {name}"))
            stretches = (math.ceil(numbers / self.dimension),)
            self._offsets[name] = torch.randint(
                0, self.dimension, stretches, generator=random
            ).tolist()
        return self._offsets[name]

    def _seed_of(self, name: str) -> int:
        return zlib.crc32(f"{self._seed} {name}".encode())
