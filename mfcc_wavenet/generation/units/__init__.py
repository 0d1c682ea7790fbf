"""Units of utterances: as files, from audio and MFCCs, and back to audio."""
