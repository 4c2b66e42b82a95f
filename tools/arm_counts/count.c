/* A plugin of qemu-user that counts the ARM instructions between two marks.

   A mark is a system call that changes nothing: getpriority(PRIO_USER, MARK). At each one the
   counts since the start go to standard error, as

       arm-counts INSTRUCTIONS LOAD_STORE SIMD DOT

   LOAD_STORE: instructions that load or store. SIMD: vector and floating-point arithmetic. DOT:
   those of SIMD that are dot products (SDOT, UDOT). What is neither is the rest.

   qemu-plugin.h is in few distributions' packages, so what is used of it is declared here, after
   its documentation (docs/devel/tcg-plugins.rst); API is the version of the interface: 1 up to
   qemu 8, 2 in 9.0, 3 in 9.1 and 9.2, 4 from 10 on. */

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef API
#define API 1
#endif
#define EXPORT __attribute__((visibility("default")))
#define GETPRIORITY 141 /* on arm64 */
#define PRIO_USER 2
#define MARK 0x41524d

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
                                                        size_t index);
#if API < 3
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#else
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t size);
#endif
extern void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
                                                 void (*callback)(unsigned cpu, void *data),
                                                 enum qemu_plugin_cb_flags flags, void *data);
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t id,
    void (*callback)(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                     uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7,
                     uint64_t a8));

EXPORT int qemu_plugin_version = API;

struct counts {
    uint64_t instructions, load_store, simd, dot;
};

static struct counts total;

static uint32_t word_of(const struct qemu_plugin_insn *insn)
{
    uint32_t word = 0;
#if API < 3
    memcpy(&word, qemu_plugin_insn_data(insn), sizeof word);
#else
    qemu_plugin_insn_data(insn, &word, sizeof word);
#endif
    return word;
}

/* The groups of the A64 encoding: bits 28 to 25 are x1x0 for loads and stores, x111 for SIMD and
   floating point (Arm ARM, C4.1). */
static void classify(uint32_t word, struct counts *c)
{
    unsigned group = word >> 25 & 15;
    c->instructions++;
    if ((group & 5) == 4)
        c->load_store++;
    if ((group & 7) == 7) {
        bool by_vector = (word & 0x9fe0fc00) == 0x0e809400;
        bool by_element = (word & 0x9fc0f400) == 0x0f80e000;
        c->simd++;
        c->dot += by_vector || by_element;
    }
}

static void executed(unsigned cpu, void *data)
{
    const struct counts *block = data;
    (void)cpu;
    total.instructions += block->instructions;
    total.load_store += block->load_store;
    total.simd += block->simd;
    total.dot += block->dot;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    /* Never freed: translated code that points to it may live as long as the program. */
    struct counts *block = calloc(1, sizeof *block);
    size_t n = qemu_plugin_tb_n_insns(tb);
    (void)id;
    if (block == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        classify(word_of(qemu_plugin_tb_get_insn(tb, i)), block);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, block);
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == GETPRIORITY && a1 == PRIO_USER && a2 == MARK)
        fprintf(stderr, "arm-counts %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                total.instructions, total.load_store, total.simd, total.dot);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
