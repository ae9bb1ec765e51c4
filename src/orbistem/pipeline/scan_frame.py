"""How the scan lies against the detector, and directions in the axes of the scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orbistem.pipeline.preparation import Preparation
from orbistem.prepare.moments import MomentsResult
from orbistem.prepare.scan_rotation import ScanRotation, find_scan_rotation
from orbistem.scan import Scan

__all__ = ["ScanFrame", "find_scan_frame", "scan_frame"]

MIRRORED_SHARE = 0.5
"""A mirrored scan must leave less than this part of the curl that the scan as it is leaves."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanFrame:
    """How the scan lies against the detector.

    Attributes
    ----------
    rotation_rad
        Azimuth, in the detector's axes, of the scan's +x axis: what was given, else what was found; 0 where
        neither is known.
    given
        Whether it was given.
    found_rad
        What the centres of mass say; NaN where they do not.
    mirrored
        Whether one of the scan's axes is inverted: +y then lies 90° before +x, not after it. What was given,
        else what was found.
    mirrored_given
        Whether that was given.
    mirrored_found
        What the centres of mass say of it; False where they say nothing.
    words
        The same for the report.
    """

    rotation_rad: float = 0.0
    given: bool = False
    found_rad: float = float("nan")
    mirrored: bool = False
    mirrored_given: bool = False
    mirrored_found: bool = False
    words: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether directions can be told in the axes of the scan."""
        return self.given or bool(np.isfinite(self.found_rad))

    def azimuth(self, detector_rad: Floats) -> Floats:
        """Azimuth from the scan's +x to its +y, in [0, 2π), of azimuths on the detector.

        The same for the angle of a pattern: seen in the axes of the scan, it is its template, mirrored
        (y → -y) where the scan is, turned by that angle.
        """
        turned = np.asarray(detector_rad, np.float64) - self.rotation_rad
        return np.asarray(np.mod(-turned if self.mirrored else turned, 2 * np.pi))

    def vector(self, ky: Floats, kx: Floats) -> tuple[Floats, Floats]:
        """Components (y, x) in the axes of the scan of vectors on the detector."""
        cosine, sine = np.cos(self.rotation_rad), np.sin(self.rotation_rad)
        down, right = cosine * ky - sine * kx, cosine * kx + sine * ky
        return (-down if self.mirrored else down), right

    def attributes(self) -> dict[str, Any]:
        """Attributes of ``maps.nc``."""
        return {
            "scan_rotation_rad": self.rotation_rad,
            "scan_rotation_given": int(self.given),
            "scan_rotation_found_rad": self.found_rad,
            "scan_mirrored": int(self.mirrored),
            "scan_mirrored_given": int(self.mirrored_given),
            "scan_mirrored_found": int(self.mirrored_found),
        }


def find_scan_frame(
    scan: Scan,
    prepared: Preparation,
    *,
    scan_rotation_deg: float | None,
    scan_mirrored: bool | None = None,
) -> ScanFrame:
    """Rotation and handedness of the scan against the detector: what was given, else what was found.

    Parameters
    ----------
    scan
        Only grids with perpendicular axes have a field of centres of mass.
    prepared
        Gives the centres of mass.
    scan_rotation_deg
        Azimuth of the scan's +x axis in the detector's axes, degrees; None: not known.
    scan_mirrored
        Whether one of the scan's axes is inverted against the detector's; None: not known.
    """
    plan = prepared.plan
    shift = np.zeros((1, 2)) if plan.shift_px is None else plan.shift_px
    place = plan.centre_px + shift
    return scan_frame(
        scan, prepared.moments, place, scan_rotation_deg=scan_rotation_deg, scan_mirrored=scan_mirrored
    )


def scan_frame(
    scan: Scan,
    moments: MomentsResult,
    place_px: NDArray[Any],
    *,
    scan_rotation_deg: float | None,
    scan_mirrored: bool | None = None,
) -> ScanFrame:
    """The same from the moments and the centre of each pattern, (n_positions, 2) or (1, 2), px."""
    given = scan_rotation_deg is not None
    used = 0.0 if scan_rotation_deg is None else float(np.deg2rad(scan_rotation_deg))
    frame = ScanFrame(
        rotation_rad=used,
        given=given,
        mirrored=bool(scan_mirrored),
        mirrored_given=scan_mirrored is not None,
    )
    if not scan.is_grid or scan.scan_vectors is not None or min(scan.scan_shape) < 3:
        return frame
    com = np.where(moments.usable[:, None], moments.com - place_px, np.nan).reshape(*scan.scan_shape, 2)
    steps = _steps(scan)
    straight = find_scan_rotation(com, steps=steps)
    flipped = find_scan_rotation(com * np.array([1, -1]), steps=steps)
    hand_found = flipped.problem is None and flipped.curl_share < MIRRORED_SHARE * straight.curl_share
    mirrored = hand_found if scan_mirrored is None else scan_mirrored
    frame = replace(frame, mirrored_found=hand_found)
    found = flipped if mirrored else straight
    if found.problem is not None:
        return frame
    # in the mirrored frame kx points the other way: azimuths there are π - φ
    angle = float(np.pi - found.angle_rad if mirrored else found.angle_rad)
    angle = float(np.angle(np.exp(1j * angle)))
    frame = replace(frame, found_rad=angle, mirrored=mirrored, rotation_rad=used if given else angle)
    return replace(frame, words=(_words(frame, found),))


def _steps(scan: Scan) -> tuple[float, float]:
    """Steps of the scan along y and x, relative to each other."""
    sizes = [abs(float(axis.scale)) for axis in scan.scan_axes[:2]]
    known = len({axis.units for axis in scan.scan_axes[:2]}) == 1 and all(sizes)
    return (sizes[0] / sizes[1], 1.0) if known else (1.0, 1.0)


def _words(frame: ScanFrame, found: ScanRotation) -> str:
    hand = " and one axis of the scan is inverted" if frame.mirrored else ""
    hand += " (as was given)" if frame.mirrored and frame.mirrored_given else ""
    text = (
        f"The centres of mass have least curl if the scan's x axis lies at "
        f"{np.rad2deg(frame.found_rad):.0f}° in the detector's axes{hand} "
        f"({100 * found.curl_share:.0f} % of the squared gradients are left as curl). "
    )
    how = f"{np.rad2deg(frame.rotation_rad):g}° was given" if frame.given else "This was applied"
    text += (
        f"{how}: maps that end in _scan, and directions in the pictures, are in the axes of the scan; all "
        "others stay in the detector's axes. In thick samples deflections may point the other way: compare "
        "with a known sample, or say it with --scan-rotation and --scan-mirrored."
    )
    if frame.mirrored_given and frame.mirrored_found != frame.mirrored:
        text += (
            f" The centres of mass say that {'an' if frame.mirrored_found else 'no'} axis of the scan is "
            "inverted, unlike what was given."
        )
    if frame.mirrored:
        text += " In the image of the scan, turns (orientation) have the opposite sense."
    return text
