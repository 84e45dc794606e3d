"""What a browser may do with the page: its headers. Scripts run by nonce, and nothing inline.

PCI DSS 6.4.3 and 11.6.1, and the self-assessment SAQ A, ask for it: each script authorised, its
integrity assured, an inventory with reasons (scripts.toml).
"""

from collections.abc import Sequence
from typing import Final

from strongroom.config import Mode
from strongroom.gateways.port import PageParts

HSTS_SECONDS: Final = 365 * 24 * 3600
_OFF: Final = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), "
    "magnetometer=(), microphone=(), midi=(), usb=(), payment=({})"
)


def fixed_headers(mode: Mode) -> list[tuple[bytes, bytes]]:
    """Those of every answer of this origin."""
    headers = [
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"x-frame-options", b"DENY"),
        (b"x-robots-tag", b"noindex, nofollow"),
    ]
    if mode == "live":
        headers.append((b"strict-transport-security", b"max-age=%d" % HSTS_SECONDS))
    return headers


def page_headers(nonce: str, report_path: str, page: PageParts | None) -> list[tuple[bytes, bytes]]:
    """Those of a page. `page` is None where there is no card field: nothing of a gateway then."""
    scripts: Sequence[str] = page.script_origins if page else ()
    frames: Sequence[str] = page.frame_origins if page else ()
    calls: Sequence[str] = page.connect_origins if page else ()
    directives = {
        "default-src": ["'none'"],
        "script-src": [f"'nonce-{nonce}'", *scripts],
        "style-src": ["'self'", *(page.style_sources if page else ())],
        "img-src": (page.image_sources if page else ()) or ["'none'"],
        "connect-src": ["'self'", *calls],
        "frame-src": frames or ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "report-uri": [report_path],
    }
    policy = "; ".join(f"{name} {' '.join(values)}" for name, values in directives.items())
    payment = " ".join(["self", *(f'"{one}"' for one in frames if "//" in one)])
    return [
        (b"content-security-policy", policy.encode("ascii")),
        (b"permissions-policy", _OFF.format(payment).encode("ascii")),
    ]
