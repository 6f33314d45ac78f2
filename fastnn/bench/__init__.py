"""What this machine can do at best, and how near to it everything comes: fastnn bench."""

from fastnn.bench.machine import Level as Level
from fastnn.bench.machine import Machine as Machine
from fastnn.bench.machine import measure as measure
from fastnn.bench.racing import Times as Times
from fastnn.bench.racing import race as race
