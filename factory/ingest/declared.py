"""What a header may declare of a scan, before memory is taken for it."""

from factory.errors import CaseError

MAX_VOXELS = 2**30
"""1024 slices of 1024 x 1024; full chests at half a millimetre have fewer."""

_MOST_THAT_DEFLATE_SAVES = 1032


def check_size(
    case_id: str, path: str, shape: tuple[int, ...], num_bytes: int, stored_bytes: int | None
) -> None:
    """Refuse a scan that is too large, or larger than its file can be when it is unpacked.

    Args:
        case_id: For messages.
        path: For messages.
        shape: As the header declares it.
        num_bytes: Of all voxels.
        stored_bytes: Size of the deflated data; None where they are not deflated.

    Raises:
        CaseError: The shape is none, too large, or cannot be what the file holds.
    """
    num_voxels = 1
    for num in shape:
        num_voxels *= num
    if min(shape, default=0) < 1 or num_voxels > MAX_VOXELS:
        raise CaseError(
            case_id,
            f"{path} declares a shape of {tuple(shape)}; expected up to {MAX_VOXELS} voxels. Crop or "
            "downsample it, or convert it again.",
        )
    if stored_bytes is not None and num_bytes > _MOST_THAT_DEFLATE_SAVES * stored_bytes:
        raise CaseError(
            case_id,
            f"{path} declares {num_bytes} bytes of voxels and has {stored_bytes} bytes that cannot "
            "unpack to as many; expected a whole file. Copy or convert it again.",
        )
