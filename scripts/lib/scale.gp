# SPDX-License-Identifier: GPL-2.0
# Speedup over the first kernel by number of CPUs. data, kernels, out, about, term
# are set by scripts/scale.
if (term eq 'svg') { set terminal svg size 720,420 font 'sans,12' background 'white' } \
else { set terminal pngcairo size 1080,630 font 'sans,14' background 'white' }
set output out
set xlabel sprintf('CPUs, each unmapping 256 MB swapped out to zram (model: %s)', about)
set ylabel 'speedup over Linux 7.2'
set logscale x 2
set yrange [0:*]
set grid ytics
set key top left
plot for [i=3:kernels+1] data using 1:i with linespoints linewidth 2 title columnheader(i)
