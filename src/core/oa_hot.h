/*
 * What a request comes to that is answered out of the cache. The compiler puts
 * all of it in one place, so that it takes few pages and few lines of the
 * processor's caches, which nginx has filled with its own code
 * (docs/performance.md).
 */

#ifndef OA_HOT_H
#define OA_HOT_H


#define OA_HOT    __attribute__((__hot__))

/* likewise what one comes to besides that has to ask Redis, in a place of its own
   behind that (GNU ld knows the name; elsewhere it is where all else is) */
#define OA_WARM   __attribute__((__section__(".text.sorted.warm")))

/* calls of its own, written out in it: they would save and restore registers */
#define OA_FLAT   __attribute__((__flatten__))

/* what only some requests come to is not put in the middle of that */
#define OA_APART  __attribute__((__noinline__))


#endif /* OA_HOT_H */
