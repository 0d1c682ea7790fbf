"""A WaveNet that inverts MFCCs to the waveform, trained to zero error."""
