# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2016 # perl's variables
# Ways to break the series, for scripts/mutate: mutant NAME CONFIG FILE WHAT CHANGE.
# CHANGE is a program for perl -0 that must change FILE. CONFIG is the kernel in which
# it is to be noticed. What cannot be told from the outside is no mutant: a worker that
# starts a little later, say.

ZS=mm/zsmalloc.c OBJ=mm/zsmalloc_obj.h

mutants()
{
	mutant class-mask um $OBJ 'the class index loses its highest bit' \
		's/(1UL << l\.class_bits\)) - 1/${1} \/ 2 - 1/'
	mutant idx-mask um $OBJ 'the object index loses its highest bit' \
		's/(obj & \(\(1UL << l\.idx_bits\)) - 1/${1} \/ 2 - 1/'
	mutant wrong-class um $ZS 'obj values name the class beside theirs' \
		's/obj_pack\(zpdesc_pfn\(zpdesc\), class->index,/obj_pack(zpdesc_pfn(zpdesc), class->index ^ 1,/'
	mutant no-second-read um $ZS 'zs_free() goes on with what it read without class->lock' \
		's/(\tclass = lock_obj_class\(pool, handle\);\n)\t\/\* Under[^\n]*\n(\tobj = handle_to_obj\(handle\);\n)/$2$1/'
	mutant no-class-lock um $ZS 'zs_free() does not take class->lock' \
		's/(class = pool->size_class\[idx\];\n)\t\tspin_lock\(&class->lock\);\n/$1/;
		 s/(fix_fullness_group\(class, zspage\);\n\t\}\n)\tspin_unlock\(&class->lock\);\n(\n\tif \(empty\))/$1$2/'
	mutant irqs-on um $ZS 'zs_free() lets interrupts come back on' \
		's/\tspin_unlock(\(&class->lock\);\n\n\tif \(empty\))/\tspin_unlock_irq$1/'
	mutant free-before-unlink um $ZS 'an empty zspage stays on the list of its class' \
		's/(\tif \(empty\) \{\n)\t\tremove_zspage\(class, zspage\);\n(\t\tunaccount)/$1$2/'
	mutant no-fullness um $ZS 'zs_free() leaves zspages in their fullness group' \
		's/(unaccount_zspage\(pool, class\);\n\t\} else \{\n)\t\tfix_fullness_group\(class, zspage\);\n/$1/'
	mutant allocated um $ZS 'an empty zspage still counts for the size of the pool' \
		's/\tatomic_long_sub\(class->pages_per_zspage, &pool->pages_allocated\);\n//'
	mutant class-stat um $ZS 'an empty zspage still counts for its class' \
		's/\tclass_stat_sub\(class, ZS_OBJS_ALLOCATED, class->objs_per_zspage\);\n//'
	mutant held um $ZS 'freed pages still count as waiting' \
		's/\tatomic_long_sub\(nr, &batch->pool->pages_held\);\n//'
	mutant zone-statistics um $ZS 'one page of each batch stays in NR_ZSPAGES' \
		's/NR_ZSPAGES, -batch->nr_zone\)/NR_ZSPAGES, 1 - batch->nr_zone)/'
	mutant half-batch um $ZS 'a full batch is not freed' \
		's/(if \(!folio_batch_add[^\n]*\n)\t\tfree_batch_flush\(batch\);/$1\t\tfolio_batch_init(&batch->fbatch);/'
	mutant last-entry um $ZS 'the last zspage of the list is lost' \
		's/(list, free_node\) \{\n)(\t\tif \(trylock_zspage)/$1\t\tif (!zspage->free_node.next)\n\t\t\tbreak;\n$2/'
	mutant locked-lost um $ZS 'zspages with a locked page are not freed' \
		's/(zspage, next, )locked(, free_node\))/${1}(struct llist_node *)NULL$2/'
	mutant double-queue um $ZS 'an empty zspage is given to the worker twice' \
		's/(\t\tdefer_free_zspage\(pool, zspage\);\n)(\}\n\n\/\*\*\n \* free_pending)/\t{\n$1$1\t}\n$2/'
	mutant leak um $ZS 'of a thousand zspages one is not freed' \
		's/(static void release_zspage\([^{]*\{\n)/$1\tstatic atomic_t nr;\n\n\tif (atomic_inc_return(&nr) % 1000 == 0)\n\t\treturn;\n/'
	mutant no-queue um $ZS 'the work is never queued' \
		's/\tif \(!delayed_work_pending\(work\)\)\n/\tif (0)\n/'
	mutant long-delay um $ZS 'the worker comes two hundred times later' \
		's/(#define ZS_FREE_DELAY_MS\s+)10\n/${1}2000\n/'
	mutant no-bound um $ZS 'there is no bound to what waits' \
		's/pages_pending\(pool\) > ZS_FREE_MAX_PAGES/pages_pending(pool) > LONG_MAX/'
	mutant trickle um $ZS 'what trickles is left to the worker, too' \
		's/if \(READ_ONCE\(pool->free_jiffies\) == now\)/if (true)/'
	mutant shrinker-count um $ZS 'the shrinker does not count what waits' \
		's/\tif \(!llist_empty\(&pool->free_list\)\)\n\t\tpages_to_free = [^\n]*\n//'
	mutant shrinker-drain um $ZS 'the shrinker does not free what waits' \
		's/(static unsigned long zs_shrinker_scan.*?pages_freed = )free_pending_zspages\(pool, false\)/${1}0/s'
	mutant compact-drain um $ZS 'zs_compact() does not free what waits' \
		's/nr_pending = free_pending_zspages\(pool, false\)/nr_pending = 0/'
	mutant malloc-drain user $ZS 'zs_malloc() fails while zspages wait' \
		's/if \(!zspage && drain_for_malloc\(pool\)\)/if (false)/'
	mutant no-flush um $ZS 'a pool is destroyed while zspages wait' \
		's/\tflush_delayed_work\(&pool->free_work\);\n//'
	mutant no-rescuer um $ZS 'the workqueue has no rescuer' \
		's/WQ_UNBOUND \| WQ_MEM_RECLAIM/WQ_UNBOUND/'
	mutant migration-obj um $ZS 'migration leaves the handle with the old page' \
		's/\t\t\trecord_obj\(handle, new_obj\);\n\t\t\}\n\t\}\n\tkunmap/\t\t\t(void)new_obj;\n\t\t}\n\t}\n\tkunmap/'
	mutant compaction-account um $ZS 'what compaction emptied still counts' \
		's/(empty = zspage_empty\(src_zspage\);\n\t\tif \(empty\) \{\n)\t\t\tunaccount_zspage\(pool, class\);\n/$1/'
	mutant reset-pages um $ZS 'pages go back with what was in them' \
		's/\t\treset_zpdesc\(zpdesc\);\n(\t\tzpdesc_unlock)/$1/'
	mutant handle-leak um-modules $ZS 'handles are not freed' \
		's/\tcache_free_handle\(handle\);\n\}\nEXPORT_SYMBOL_GPL\(zs_free\)/}\nEXPORT_SYMBOL_GPL(zs_free)/'
	mutant zspage-leak um-modules $ZS 'the structs of zspages are not freed' \
		's/\n\tcache_free_zspage\(zspage\);\n(\}\n\n\/\*\n \* Whether)/$1/'
}
