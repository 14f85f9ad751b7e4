# SPDX-License-Identifier: GPL-2.0
# Plot of scripts/bench: bars with error bars from "data", one cluster for each
# number of processes and size, one bar for each kernel (columns: median, min, max).
if (term eq 'svg') { set terminal svg size 720,420 font 'sans,12' background 'white' } \
else { set terminal pngcairo size 1080,630 font 'sans,14' background 'white' }
set output out
set style data histograms
set style histogram errorbars gap 1.5 linewidth 1
set style fill solid 0.8 border -1
set boxwidth 0.9
set yrange [0:*]
set grid ytics
set key top left
set xlabel about
set ylabel unit
plot for [k=0:kernels-1] data using 2+3*k:3+3*k:4+3*k:xticlabels(1) title columnheader(2+3*k)
