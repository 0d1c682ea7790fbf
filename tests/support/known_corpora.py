"""Small trees of the known corpora, of the demonstration corpus's speech, as their archives unpack to."""

from pathlib import Path

import soundfile

from support.corpora import RATE, speech

# Path in the corpus's archive, and the utterance's speaker, id and split, or None where the file is not one.
TREES = {
    "librispeech": {
        "LibriSpeech/train-clean-100/19/198/19-198-0000.flac": ("19", "19-198-0000", "train"),
        "LibriSpeech/train-clean-100/19/198/19-198-0001.flac": ("19", "19-198-0001", "train"),
        "LibriSpeech/dev-clean/84/121123/84-121123-0000.flac": ("84", "84-121123-0000", "valid"),
        "LibriSpeech/dev-clean/174/50561/174-50561-0003.flac": ("174", "174-50561-0003", "valid"),
        "LibriSpeech/test-other/367/130732/367-130732-0000.flac": ("367", "367-130732-0000", "test"),
    },
    "libritts": {
        "LibriTTS/train-clean-100/19/198/19_198_000000_000000.wav": ("19", "19_198_000000_000000", "train"),
        "LibriTTS/dev-clean/84/121123/84_121123_000007_000001.wav": ("84", "84_121123_000007_000001", "valid"),
        "LibriTTS/test-clean/61/70968/61_70968_000000_000001.wav": ("61", "61_70968_000000_000001", "test"),
    },
    "ljspeech": {
        "LJSpeech-1.1/wavs/LJ001-0001.wav": ("LJ", "LJ001-0001", None),
        "LJSpeech-1.1/wavs/LJ001-0002.wav": ("LJ", "LJ001-0002", None),
        "LJSpeech-1.1/wavs/LJ050-0278.wav": ("LJ", "LJ050-0278", None),
    },
    "vctk": {
        "wav48_silence_trimmed/p225/p225_001_mic1.flac": ("p225", "p225_001", None),
        "wav48_silence_trimmed/p225/p225_001_mic2.flac": None,
        "wav48_silence_trimmed/p225/p225_002_mic1.flac": ("p225", "p225_002", None),
        "wav48_silence_trimmed/p225/p225_002_mic2.flac": None,
        "wav48_silence_trimmed/s5/s5_001_mic1.flac": ("s5", "s5_001", None),
        "wav48_silence_trimmed/s5/s5_001_mic2.flac": None,
    },
    "cmu_arctic": {
        "cmu_us_bdl_arctic/wav/arctic_a0001.wav": ("bdl", "bdl/arctic_a0001", None),
        "cmu_us_bdl_arctic/wav/arctic_b0539.wav": ("bdl", "bdl/arctic_b0539", None),
        "cmu_us_slt_arctic/wav/arctic_a0001.wav": ("slt", "slt/arctic_a0001", None),
    },
}
# Of the corpus, where its archives have none.
FOLDERS = {"vctk": "VCTK-Corpus-0.92", "cmu_arctic": "ARCTIC"}
HOMES = {"librispeech": "LibriSpeech", "libritts": "LibriTTS", "ljspeech": "LJSpeech-1.1", **FOLDERS}
SUBSETS = {
    "librispeech": ("train-clean-100", "dev-clean", "test-other"),
    "libritts": ("train-clean-100", "dev-clean", "test-clean"),
    "cmu_arctic": ("bdl", "slt"),
}
TEXTS = {
    "librispeech": {
        "LibriSpeech/SPEAKERS.TXT": ";ID  |SEX| SUBSET           |MINUTES| NAME\n"
        "19   | F | train-clean-100  | 25.19 | Kara Shallenberg\n84   | F | dev-clean        | 8.02  | Christie Nowak\n"
        "174  | M | dev-clean        | 8.04  | Peter Eastman\n367  | F | test-other       | 8.00  | J. Riehle\n"
        "14   | F | train-clean-360  | 25.03 | Kristin LeMoine\n",
        "LibriSpeech/dev-clean/84/121123/84-121123.trans.txt": "84-121123-0000 A FOG\n",
        "LibriSpeech/dev-clean/174/50561/174-50561.trans.txt": "174-50561-0003 A CHOIR\n",
    },
    "libritts": {"LibriTTS/speakers.tsv": "READER\tGENDER\tSUBSET\tNAME\n84\tF\tdev-clean\tChristie Nowak\n"},
    "ljspeech": {
        "LJSpeech-1.1/metadata.csv": "LJ001-0001|Printing, in 1 sense|Printing, in one sense\n"
        "LJ001-0002|in being|in being\nLJ050-0278|the “end”|the “end”\n"
    },
    "vctk": {
        "speaker-info.txt": "ID  AGE  GENDER  ACCENTS  REGION COMMENTS\np225  23  F    English    Southern  England\n"
        "s5  24  F    British\n",
        "txt/p225/p225_001.txt": "Please call Stella.\n",
        "txt/p225/p225_002.txt": "Ask her.\n",
        "txt/s5/s5_001.txt": "Please call Stella.\n",
    },
    "cmu_arctic": {
        "cmu_us_bdl_arctic/etc/txt.done.data": '( arctic_a0001 "Author." )\n( arctic_b0539 "Tonight." )\n',
        "cmu_us_slt_arctic/etc/txt.done.data": '( arctic_a0001 "Author." )\n',
    },
}


def unpacked(folder: Path, corpus: str, without: tuple[str, ...] = ()) -> Path:
    """The folder, with what the corpus's archives unpack to, but for those of some subsets."""
    for number, name in enumerate(TREES[corpus]):
        if not any(subset in name for subset in without):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name, speech(number), RATE)
    for name, text in TEXTS[corpus].items():
        if not any(subset in name for subset in without):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def laid_out(root: Path, corpus: str) -> Path:
    """The root, in which the corpus lies."""
    unpacked(root / FOLDERS.get(corpus, ""), corpus)
    return root


def expected(corpus: str) -> list[tuple[str, str, str, str | None]]:
    """Path below the root, speaker, id and split of every utterance."""
    rows = [(name, row) for name, row in TREES[corpus].items() if row]
    return [(str(Path(FOLDERS.get(corpus, ""), name)), *row) for name, row in rows]
