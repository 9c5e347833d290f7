"""One compressed frame to its stored values, by a decoder that is named."""

from typing import Any

from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID


def decode_frame(frame: bytes, *, syntax: str, plugin: str, **described: int) -> NDArray[Any]:
    """Return the stored values of a compressed frame, (row, column), with one grey sample a pixel.

    Args:
        frame: Its bytes, out of their items.
        syntax: UID of the transfer syntax.
        plugin: Of pydicom, which decodes it.
        **described: rows, columns, bits_allocated, bits_stored and pixel_representation.

    Raises:
        Exception: Whatever the plugin raises for bytes that it does not decode.
    """
    options: dict[str, Any] = {
        **described,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    decoder = get_decoder(UID(syntax))
    array, _ = decoder.as_array(encapsulate([frame]), raw=True, decoding_plugin=plugin, **options)
    return array
