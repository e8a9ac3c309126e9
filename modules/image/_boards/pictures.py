"""Pictures of boards as arrays: PNG of any depth, with palette or alpha, as one grey picture."""

import io
import warnings

import numpy as np

from engine.errors import BadQuery, Mistake

LARGEST = 64_000_000  # pixels
SMALLEST = 16  # pixels a side


def grey_picture(raw: bytes) -> np.ndarray:
    """A PNG, or another file that Pillow knows, as grey from 0 to 1; what is transparent is white.

    Raises BadQuery for what is no picture, is cut short or too large. -> (h, w) float32
    """
    try:
        from PIL import Image
    except ImportError:
        remedy = "install Pillow: pip install 'basin[images]'"
        raise BadQuery(
            Mistake("", "pictures are read by Pillow, which is missing", remedy)
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is asked
            image: Image.Image = Image.open(io.BytesIO(raw))
        if image.width * image.height > LARGEST:
            size = f"{image.width} x {image.height} pixels"
            raise BadQuery(Mistake("", size, f"give at most {LARGEST} in all"))
        image.load()
    except BadQuery:
        raise
    except Image.DecompressionBombError:  # more pixels than Pillow opens
        problem = f"has far more than {LARGEST} pixels"
        raise BadQuery(Mistake("", problem, f"give at most {LARGEST} in all")) from None
    except Exception as error:  # Pillow raises whatever its readers do
        said = str(error).split("\n")[0].replace("<", "").replace(">", "")
        problem = "is cut short or broken" if raw[:4] == b"\x89PNG" else "is no picture"
        raise BadQuery(Mistake("", f"{problem} ({said})", "give a whole PNG")) from None
    if min(image.size) < SMALLEST:
        size = f"{image.width} x {image.height} pixels"
        raise BadQuery(Mistake("", size, f"give at least {SMALLEST} x {SMALLEST}"))
    if image.mode in ("I", "F", "I;16", "I;16B", "I;16L", "I;16N"):
        x = np.asarray(image, dtype=np.float64)
        if not np.isfinite(x).all():
            raise BadQuery(Mistake("", "has pixels that are no finite numbers", "save it as PNG"))
        return (x / max(float(x.max()), 1.0)).astype(np.float32)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        full = image.convert("RGBA")
        white = Image.new("RGBA", full.size, "white")
        image = Image.alpha_composite(white, full)
    grey = np.asarray(image if image.mode == "L" else image.convert("L"))
    return np.divide(grey, np.float32(255.0), dtype=np.float32)
