"""Settings to a model."""

from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.config.size import FLOAT_BYTES, count_weights, refuse_too_large, remembered_bytes
from mfcc_wavenet.models.autoencoder import AutoEncoder
from mfcc_wavenet.models.base import Model
from mfcc_wavenet.models.mfcc_inverter import MfccInverter


def build_model(settings: Settings, geometry: Geometry, speakers: int) -> Model:
    """The model that these settings describe, its weights drawn from torch's global generator.

    speakers: how many there are to tell apart. UserError if the weights do not fit into memory.
    """
    refuse_too_large(FLOAT_BYTES * count_weights(settings, speakers), "network")
    refuse_too_large(remembered_bytes(settings), "bottleneck.memory")
    decoder, channels = (settings.upsampling, settings.wavenet), settings.features.channels
    if settings.bottleneck.kind == "none":
        return MfccInverter(geometry, *decoder, channels, speakers)
    encoder, seed = (settings.encoder, settings.bottleneck), settings.train.seed
    return AutoEncoder(geometry, *encoder, *decoder, channels, speakers, seed)
