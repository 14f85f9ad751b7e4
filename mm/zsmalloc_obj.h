/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_ZSMALLOC_OBJ_H
#define _MM_ZSMALLOC_OBJ_H

#include <linux/build_bug.h>
#include <linux/minmax.h>
#include <linux/mmdebug.h>
#include <linux/mmzone.h>
#include <linux/pgtable.h>
#include <linux/types.h>

/*
 * An obj value says where an object is. It is what the word behind a handle
 * holds, packed in one unsigned long:
 *
 *  |<---- PFN ---->|<- size class index ->|<- object index ->|
 *                   <-- OBJ_CLASS_BITS --> <- OBJ_IDX_BITS ->
 *
 * - PFN: the page in which the object starts. Migration and compaction change
 *   it, under class->lock.
 *
 * - Size class index: the index of the size_class of the object's zspage. It
 *   never changes while the object lives, so it may be read without any lock.
 *   Has no bits (OBJ_CLASS_BITS is 0) where it does not fit.
 *
 * - Object index: the number of the object in its zspage, counted from 0.
 *   Compaction changes it, under class->lock.
 *
 * The PFN is as wide as physical addresses can be. The bits below it are shared
 * as above if that leaves enough of them to number the smallest objects of the
 * longest zspage. Otherwise the object index has them all. Where even these are
 * too few (PAE), the smallest object is larger than OBJ_MIN_SIZE.
 */

/* The size of the smallest object, where the index has room for its number */
#define OBJ_MIN_SIZE		32

/*
 * Size classes are PAGE_SIZE >> CLASS_BITS bytes apart, so there may be one more
 * of them than CLASS_BITS can number.
 */
#define CLASS_BITS		8
#define CLASS_IDX_BITS		(CLASS_BITS + 1)

/*
 * The widths follow from four facts about a configuration. These are arguments,
 * so that lib/tests/zsmalloc_kunit.c can check the layout of every architecture
 * on one machine.
 */
#define __OBJ_LOW_BITS(long_bits, physmem_bits, page_shift) \
	((long_bits) - ((physmem_bits) - (page_shift)))

/* Beside a class index, can the smallest objects of the longest zspage be numbered? */
#define __OBJ_CLASS_FITS(low_bits, page_shift, chain_size) \
	(OBJ_MIN_SIZE * 1ULL << (low_bits) >= \
	 (chain_size) * 1ULL << (page_shift) << CLASS_IDX_BITS)

#define __OBJ_CLASS_BITS(low_bits, page_shift, chain_size) \
	(__OBJ_CLASS_FITS(low_bits, page_shift, chain_size) ? CLASS_IDX_BITS : 0)

#define __OBJ_MIN_ALLOC_SIZE(idx_bits, page_shift, chain_size) \
	MAX(OBJ_MIN_SIZE, ((chain_size) * 1UL << (page_shift) >> (idx_bits)))

/* The facts about this kernel */
#if defined(MAX_POSSIBLE_PHYSMEM_BITS)
#define OBJ_PHYSMEM_BITS	MAX_POSSIBLE_PHYSMEM_BITS
#elif defined(MAX_PHYSMEM_BITS)
#define OBJ_PHYSMEM_BITS	MAX_PHYSMEM_BITS
#else
/* Physical addresses of unknown width: all below the PFN is PAGE_SHIFT bits */
#define OBJ_PHYSMEM_BITS	BITS_PER_LONG
#endif

#define ZS_MAX_PAGES_PER_ZSPAGE	(_AC(CONFIG_ZSMALLOC_CHAIN_SIZE, UL))

/* And the widths that follow */
#define OBJ_LOW_BITS \
	__OBJ_LOW_BITS(BITS_PER_LONG, OBJ_PHYSMEM_BITS, PAGE_SHIFT)
#define OBJ_CLASS_BITS \
	__OBJ_CLASS_BITS(OBJ_LOW_BITS, PAGE_SHIFT, ZS_MAX_PAGES_PER_ZSPAGE)
#define OBJ_IDX_BITS		(OBJ_LOW_BITS - OBJ_CLASS_BITS)

/* Does the obj value name the size class? The one place that decides it. */
#define OBJ_HAS_CLASS		(OBJ_CLASS_BITS != 0)

/* ZS_MIN_ALLOC_SIZE must be multiple of ZS_ALIGN */
#define ZS_MIN_ALLOC_SIZE \
	__OBJ_MIN_ALLOC_SIZE(OBJ_IDX_BITS, PAGE_SHIFT, ZS_MAX_PAGES_PER_ZSPAGE)

static_assert(OBJ_IDX_BITS > 0 && OBJ_LOW_BITS < BITS_PER_LONG);
static_assert(ZS_MAX_PAGES_PER_ZSPAGE << PAGE_SHIFT <=
	      ZS_MIN_ALLOC_SIZE << OBJ_IDX_BITS);
/* The class index must never cost memory */
static_assert(!OBJ_HAS_CLASS || ZS_MIN_ALLOC_SIZE == OBJ_MIN_SIZE);
/* A 32-bit obj value has no room, and zs_free() relies on pool->lock there */
static_assert(!OBJ_HAS_CLASS || IS_ENABLED(CONFIG_64BIT));

/**
 * struct obj_layout - widths of the fields below the PFN of an obj value
 * @class_bits: bits of the size class index, 0 where it does not fit
 * @idx_bits: bits of the object index
 */
struct obj_layout {
	unsigned int class_bits;
	unsigned int idx_bits;
};

#define OBJ_LAYOUT \
	((struct obj_layout){ \
		.class_bits = OBJ_CLASS_BITS, \
		.idx_bits = OBJ_IDX_BITS, \
	})

/*
 * Helpers for any layout. They are inline, so that a constant one costs nothing.
 */

static __always_inline unsigned int obj_layout_low_bits(struct obj_layout l)
{
	return l.class_bits + l.idx_bits;
}

/**
 * obj_layout_pack - make an obj value
 * @l: its layout
 * @pfn: page frame number, at most as wide as the layout has room for
 * @class_idx: size class index; ignored where the layout has none
 * @idx: object index
 *
 * Context: any.
 * Return: the obj value.
 */
static __always_inline unsigned long
obj_layout_pack(struct obj_layout l, unsigned long pfn, unsigned int class_idx,
		unsigned int idx)
{
	unsigned int low_bits = obj_layout_low_bits(l);
	unsigned long obj;

	VM_WARN_ON_ONCE(pfn << low_bits >> low_bits != pfn);
	VM_WARN_ON_ONCE((unsigned long)idx >> l.idx_bits);

	obj = pfn << low_bits;
	if (l.class_bits) {
		VM_WARN_ON_ONCE(class_idx >> l.class_bits);
		obj |= (unsigned long)class_idx << l.idx_bits;
	}
	return obj | idx;
}

static __always_inline unsigned long
obj_layout_pfn(struct obj_layout l, unsigned long obj)
{
	return obj >> obj_layout_low_bits(l);
}

/* Only for layouts that have class_bits */
static __always_inline unsigned int
obj_layout_class(struct obj_layout l, unsigned long obj)
{
	return (obj >> l.idx_bits) & ((1UL << l.class_bits) - 1);
}

static __always_inline unsigned int
obj_layout_idx(struct obj_layout l, unsigned long obj)
{
	return obj & ((1UL << l.idx_bits) - 1);
}

/*
 * Helpers for the layout of this kernel.
 */
static inline unsigned long obj_pack(unsigned long pfn, unsigned int class_idx,
				     unsigned int idx)
{
	return obj_layout_pack(OBJ_LAYOUT, pfn, class_idx, idx);
}

static inline unsigned long obj_to_pfn(unsigned long obj)
{
	return obj_layout_pfn(OBJ_LAYOUT, obj);
}

/* Callers check OBJ_HAS_CLASS */
static inline unsigned int obj_to_class_idx(unsigned long obj)
{
	BUILD_BUG_ON(!OBJ_HAS_CLASS);
	return obj_layout_class(OBJ_LAYOUT, obj);
}

static inline unsigned int obj_to_idx(unsigned long obj)
{
	return obj_layout_idx(OBJ_LAYOUT, obj);
}

#endif /* _MM_ZSMALLOC_OBJ_H */
