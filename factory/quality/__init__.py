"""What is measured of each synthetic volume, recorded with it, and its verdict.

volume, reference, layout --assess--> figures --limits--> reasons --> accept, review or reject
"""

from factory.quality.assess import assess
from factory.quality.figures import Quality
from factory.quality.limits import QualityLimits
from factory.quality.promises import Promises

__all__ = ["Promises", "Quality", "QualityLimits", "assess"]
