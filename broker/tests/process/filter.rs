//! A seccomp filter from a list of names, as a container's runtime would make it.

use std::io;

/// The filter's program; `prctl` copies it.
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Allows these system calls; all others fail with EPERM.
    pub fn allowing(names: &[&str]) -> Self {
        // Load the call's number, the first word of what a filter sees.
        let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
        for name in names {
            let number = u32::try_from(number_of(name)).expect("numbers are small");
            program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number, 1));
            program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
        }
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        program.push(statement(libc::BPF_RET | libc::BPF_K, refused, 0));
        Self(program)
    }

    /// Binds the calling process and its children to it for good.
    pub fn install(&mut self) -> io::Result<()> {
        let length = u16::try_from(self.0.len()).expect("a filter is short");
        let program = libc::sock_fprog { len: length, filter: self.0.as_mut_ptr() };
        // SAFETY: the program and its filter outlive the calls, which copy them.
        let installed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if installed { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// One instruction; a comparison that fails jumps over `skipped` instructions.
fn statement(code: u32, k: u32, skipped: u8) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("codes are small"), jt: 0, jf: skipped, k }
}

/// The names that a profile in Docker's form allows.
pub fn names_of(profile: &str) -> Vec<&str> {
    let (_, list) = profile.split_once("\"names\": [").expect("a list of names");
    let (list, _) = list.split_once(']').expect("its end");
    list.split(',').map(|name| name.trim().trim_matches('"')).collect()
}

fn number_of(name: &str) -> libc::c_long {
    match name {
        "accept" => libc::SYS_accept,
        "accept4" => libc::SYS_accept4,
        "access" => libc::SYS_access,
        "arch_prctl" => libc::SYS_arch_prctl,
        "bind" => libc::SYS_bind,
        "brk" => libc::SYS_brk,
        "clock_getres" => libc::SYS_clock_getres,
        "clock_gettime" => libc::SYS_clock_gettime,
        "clock_nanosleep" => libc::SYS_clock_nanosleep,
        "clone" => libc::SYS_clone,
        "clone3" => libc::SYS_clone3,
        "close" => libc::SYS_close,
        "connect" => libc::SYS_connect,
        "dup" => libc::SYS_dup,
        "epoll_create1" => libc::SYS_epoll_create1,
        "epoll_ctl" => libc::SYS_epoll_ctl,
        "epoll_pwait" => libc::SYS_epoll_pwait,
        "epoll_pwait2" => libc::SYS_epoll_pwait2,
        "epoll_wait" => libc::SYS_epoll_wait,
        "eventfd2" => libc::SYS_eventfd2,
        "execve" => libc::SYS_execve,
        "exit" => libc::SYS_exit,
        "exit_group" => libc::SYS_exit_group,
        "faccessat" => libc::SYS_faccessat,
        "faccessat2" => libc::SYS_faccessat2,
        "fadvise64" => libc::SYS_fadvise64,
        "fallocate" => libc::SYS_fallocate,
        "fchmod" => libc::SYS_fchmod,
        "fcntl" => libc::SYS_fcntl,
        "fdatasync" => libc::SYS_fdatasync,
        "flock" => libc::SYS_flock,
        "fstat" => libc::SYS_fstat,
        "fstatfs" => libc::SYS_fstatfs,
        "fsync" => libc::SYS_fsync,
        "ftruncate" => libc::SYS_ftruncate,
        "futex" => libc::SYS_futex,
        "getcpu" => libc::SYS_getcpu,
        "getcwd" => libc::SYS_getcwd,
        "getdents64" => libc::SYS_getdents64,
        "getegid" => libc::SYS_getegid,
        "geteuid" => libc::SYS_geteuid,
        "getgid" => libc::SYS_getgid,
        "getpeername" => libc::SYS_getpeername,
        "getpid" => libc::SYS_getpid,
        "getppid" => libc::SYS_getppid,
        "getrandom" => libc::SYS_getrandom,
        "getrlimit" => libc::SYS_getrlimit,
        "getrusage" => libc::SYS_getrusage,
        "getsockname" => libc::SYS_getsockname,
        "getsockopt" => libc::SYS_getsockopt,
        "gettid" => libc::SYS_gettid,
        "gettimeofday" => libc::SYS_gettimeofday,
        "getuid" => libc::SYS_getuid,
        "io_uring_enter" => libc::SYS_io_uring_enter,
        "io_uring_register" => libc::SYS_io_uring_register,
        "io_uring_setup" => libc::SYS_io_uring_setup,
        "ioctl" => libc::SYS_ioctl,
        "listen" => libc::SYS_listen,
        "lseek" => libc::SYS_lseek,
        "lstat" => libc::SYS_lstat,
        "madvise" => libc::SYS_madvise,
        "membarrier" => libc::SYS_membarrier,
        "mkdir" => libc::SYS_mkdir,
        "mkdirat" => libc::SYS_mkdirat,
        "mmap" => libc::SYS_mmap,
        "mprotect" => libc::SYS_mprotect,
        "mremap" => libc::SYS_mremap,
        "munmap" => libc::SYS_munmap,
        "nanosleep" => libc::SYS_nanosleep,
        "newfstatat" => libc::SYS_newfstatat,
        "open" => libc::SYS_open,
        "openat" => libc::SYS_openat,
        "pipe2" => libc::SYS_pipe2,
        "poll" => libc::SYS_poll,
        "ppoll" => libc::SYS_ppoll,
        "prctl" => libc::SYS_prctl,
        "pread64" => libc::SYS_pread64,
        "preadv" => libc::SYS_preadv,
        "prlimit64" => libc::SYS_prlimit64,
        "pwrite64" => libc::SYS_pwrite64,
        "pwritev" => libc::SYS_pwritev,
        "read" => libc::SYS_read,
        "readlink" => libc::SYS_readlink,
        "readlinkat" => libc::SYS_readlinkat,
        "readv" => libc::SYS_readv,
        "recvfrom" => libc::SYS_recvfrom,
        "recvmsg" => libc::SYS_recvmsg,
        "rename" => libc::SYS_rename,
        "renameat" => libc::SYS_renameat,
        "renameat2" => libc::SYS_renameat2,
        "restart_syscall" => libc::SYS_restart_syscall,
        "rmdir" => libc::SYS_rmdir,
        "rseq" => libc::SYS_rseq,
        "rt_sigaction" => libc::SYS_rt_sigaction,
        "rt_sigprocmask" => libc::SYS_rt_sigprocmask,
        "rt_sigreturn" => libc::SYS_rt_sigreturn,
        "sched_getaffinity" => libc::SYS_sched_getaffinity,
        "sched_getattr" => libc::SYS_sched_getattr,
        "sched_setaffinity" => libc::SYS_sched_setaffinity,
        "sched_setattr" => libc::SYS_sched_setattr,
        "sched_yield" => libc::SYS_sched_yield,
        "sendmsg" => libc::SYS_sendmsg,
        "sendto" => libc::SYS_sendto,
        "set_robust_list" => libc::SYS_set_robust_list,
        "set_tid_address" => libc::SYS_set_tid_address,
        "setrlimit" => libc::SYS_setrlimit,
        "setsockopt" => libc::SYS_setsockopt,
        "shutdown" => libc::SYS_shutdown,
        "sigaltstack" => libc::SYS_sigaltstack,
        "socket" => libc::SYS_socket,
        "socketpair" => libc::SYS_socketpair,
        "stat" => libc::SYS_stat,
        "statfs" => libc::SYS_statfs,
        "statx" => libc::SYS_statx,
        "syncfs" => libc::SYS_syncfs,
        "sysinfo" => libc::SYS_sysinfo,
        "tgkill" => libc::SYS_tgkill,
        "timerfd_create" => libc::SYS_timerfd_create,
        "timerfd_settime" => libc::SYS_timerfd_settime,
        "uname" => libc::SYS_uname,
        "unlink" => libc::SYS_unlink,
        "unlinkat" => libc::SYS_unlinkat,
        "write" => libc::SYS_write,
        "writev" => libc::SYS_writev,
        other => panic!("{other} is not known here: add its number"),
    }
}
