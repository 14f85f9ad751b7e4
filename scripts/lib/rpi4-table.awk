# SPDX-License-Identifier: GPL-2.0
# The table of scripts/bench, made on the board: munmap and its speedup. Its files are
# ROUND-KERNEL.txt, with the output of the selftest munmap. For any awk, busybox's too.

function sorted(list, out,    n, i, j, t)
{
	n = split(list, out, " ")
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && out[j - 1] + 0 > out[j] + 0; j--) {
			t = out[j]
			out[j] = out[j - 1]
			out[j - 1] = t
		}
	return n
}

function median(list,    v, n)
{
	n = sorted(list, v)
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

# "median (least..greatest)"
function cell(list, scale, digits,    v, n, format)
{
	n = sorted(list, v)
	if (!n)
		return "-"
	format = "%." digits "f"
	if (v[1] == v[n])
		return sprintf(format, median(list) / scale)
	return sprintf(format " (" format ".." format ")", median(list) / scale, v[1] / scale, v[n] / scale)
}

function row(title, name, procs,    r, base, series, b, s, ratios)
{
	for (r = 1; r <= rounds; r++) {
		b = s = 0
		if ((r, "base", procs, name) in all) {
			b = median(all[r, "base", procs, name])
			base = base " " b
		}
		if ((r, "series", procs, name) in all) {
			s = median(all[r, "series", procs, name])
			series = series " " s
		}
		# within a round, as scripts/bench does it
		if (b && s)
			ratios = ratios " " b / s
	}
	printf "%-14s  %-22s  %-22s  %s\n", title ", " procs, cell(base, 1e6, 1),
		cell(series, 1e6, 1), cell(ratios, 1, 2)
}

/^# zsmalloc-munmap: / {
	split(FILENAME, path, "/")
	for (i in path)
		if (path[i] ~ /^[0-9]+-(base|series)\.txt$/)
			file = path[i]
	round = file + 0
	kernel = file ~ /-base/ ? "base" : "series"
	if (round > rounds)
		rounds = round
	for (i = 3; i <= NF; i++)
		if (split($i, kv, "=") == 2)
			value[kv[1]] = kv[2]
	p = value["procs"]
	if (!(p in seen)) {
		seen[p] = 1
		list[++points] = p
	}
	all[round, kernel, p, "munmap_ns"] = all[round, kernel, p, "munmap_ns"] " " value["munmap_ns"]
	all[round, kernel, p, "freed_ns"] = all[round, kernel, p, "freed_ns"] " " value["freed_ns"]
}

END {
	printf "munmap of %d MB by each of 1, 2, 4 processes; median of %d rounds (least..greatest)\n", size, rounds
	printf "%-14s  %-22s  %-22s  %s\n", "ms", "base", "series", "speedup"
	for (i = 1; i <= points; i++)
		row("munmap", "munmap_ns", list[i])
	for (i = 1; i <= points; i++)
		row("free again", "freed_ns", list[i])
}
