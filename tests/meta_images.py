"""Headers of MetaImage files, as ITK writes them."""


def meta_header(**fields: str | None) -> bytes:
    """Return the header of a MetaImage; None takes a field away. The voxels' file is to come last."""
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
    } | fields
    lines = (f"{key} = {value}\n" for key, value in header.items() if value is not None)
    return "".join(lines).encode()
