"""Published efficiencies of one mode from those of another: a test of the energy model.

HERMES: calibrated on either mode's peak TOPS and TOPS/W (two constants: the time of a read and the
energy of a conversion), the other follows from the number of read phases (profile.in_mode): the
more phases, the longer converters, drivers and cells are on; shift-and-add stays.

AON-CiM: inputs are pulses of up to 2^bits steps, which the converter counts through, so analog
energy is in proportion to overhead + 2^bits steps; rescaling stays; memory is in proportion to the
bits. Its energy per conversion is that of HERMES' one-phase mode (same node, medium and kind of
converter). Its networks' layers are not in the sources read, so one constant each, the rows that a
read uses on average, is solved for from the 8-bit figure; columns are a ninth of them (3x3
convolutions with as many channels out as in). No constant is solved for from a predicted mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edge_sdk.backends.cim.cost import calibrated, peak
from edge_sdk.backends.cim.profile import CimProfile, Costs, in_mode, load_cim_profile, peak_quote

# Of the rows that a read uses, the columns: 3x3 kernels, channels out as in.
_ROWS_PER_COLUMN = 9


@dataclass(frozen=True)
class Prediction:
    """what: TOPS or TOPS/W. calibrated_on: the mode whose published figures were met first.
    published: with its source; predicted by the model."""

    chip: str
    workload: str
    mode: str
    calibrated_on: str
    what: str
    published: float
    predicted: float
    source: str

    @property
    def error(self) -> float:
        """Relative."""
        return self.predicted / self.published - 1


def cross_predictions(memory: float = 1.0) -> tuple[Prediction, ...]:
    """HERMES in each of its modes from the other, AON-CiM at fewer bits from 8. memory: a factor
    on AON-CiM's assumed energies of memory and rescaling, to see what rests on them."""
    hermes = load_cim_profile("cim-hermes-pcm")
    aon = load_cim_profile("cim-aon-pcm")
    costs = replace(
        aon.costs,
        sram_pj=aon.costs.sram_pj * memory,
        output_pj=aon.costs.output_pj * memory,
    )
    return (*_peaks(hermes), *_workloads(replace(aon, costs=costs)))


def _peaks(profile: CimProfile) -> Iterator[Prediction]:
    for known in profile.modes:
        fitted = calibrated(in_mode(profile, known))
        for other in (m for m in profile.modes if m != known):
            quote = peak_quote(profile, other)
            if quote is None:
                continue
            figures = zip(
                ("TOPS", "TOPS/W"),
                (quote.tops, quote.tops_per_w),
                peak(in_mode(fitted, other)),
                strict=True,
            )
            for what, published, predicted in figures:
                yield Prediction(
                    profile.chip.device,
                    "peak",
                    other,
                    known,
                    what,
                    published,
                    predicted,
                    quote.source,
                )


def _workloads(profile: CimProfile) -> Iterator[Prediction]:
    base = {q.workload: q for q in profile.quoted if q.mode == profile.mode}
    for quote in (q for q in profile.quoted if q.mode != profile.mode):
        rows = rows_in_use(profile, base[quote.workload].tops_per_w)
        mode = in_mode(profile, quote.mode)
        yield Prediction(
            profile.chip.device,
            quote.workload,
            quote.mode,
            profile.mode,
            "TOPS/W",
            quote.tops_per_w,
            1 / _pj_per_operation(mode, rows),
            quote.source,
        )


def rows_in_use(profile: CimProfile, tops_per_w: float) -> float:
    """Rows of a mean read for which the model gives this efficiency."""
    per_column = _pj_per_column(profile.costs, profile.dac.bits)
    return per_column / (2 * (1 / tops_per_w - _cells_pj(profile.costs)))


def _pj_per_operation(profile: CimProfile, rows: float) -> float:
    per_column = _pj_per_column(profile.costs, profile.dac.bits)
    return per_column / (2 * rows) + _cells_pj(profile.costs)


def _pj_per_column(c: Costs, bits: int) -> float:
    """One conversion, and the share of a column in what its read fetches, drives and writes."""
    fetched = _ROWS_PER_COLUMN * (c.dac_pj + c.sram_pj * bits / 8)
    return c.adc_pj + c.shift_add_pj + c.output_pj + fetched + c.sram_pj * bits / 8


def _cells_pj(c: Costs) -> float:
    """Per operation: a pair of cells per Mult-Add, which is two."""
    return c.cell_fj / 1e3
