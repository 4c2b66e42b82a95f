"""Where public archives are, what vouches for their bytes, and how they are cited."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A public archive. bytes and sha256 (hexadecimal): of the whole file."""

    name: str
    url: str
    page: str
    bytes: int
    sha256: str
    terms: str
    citation: str


# Size and SHA-256 as TensorFlow Datasets records them for this very address:
# github.com/tensorflow/datasets, tensorflow_datasets/datasets/malaria/checksums.tsv.
NIH_MALARIA = Source(
    name="nih-malaria",
    url="https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip",
    page=(
        "https://lhncbc.nlm.nih.gov/LHC-research/LHC-projects/image-processing/"
        "malaria-datasheet.html"
    ),
    bytes=353_452_851,
    sha256="0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668",
    terms=(
        "Made public by the U.S. National Library of Medicine. This project knows of no licence "
        "text: read the page before you pass the images on, and cite the paper."
    ),
    citation=(
        "Rajaraman S, Antani SK, Poostchi M, Silamut K, Hossain MA, Maude RJ, Jaeger S, "
        "Thoma GR (2018). Pre-trained convolutional neural networks as feature extractors toward "
        "improved malaria parasite detection in thin blood smear images. PeerJ 6:e4568. "
        "https://doi.org/10.7717/peerj.4568"
    ),
)
