//! Trait objects for traits with asynchronous methods.
//!
//! [`Store`](crate::store::Store), [`Policy`](crate::Policy) and [`Observer`](crate::Observer) use
//! `impl Future`, so that implementing them needs no macro and no box. Such traits are not
//! dyn-compatible, so each has a private twin whose futures are boxed.

use std::future::Future;
use std::pin::Pin;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Declares the twin of a trait, and implements it for all types that implement the trait.
///
/// Each method is listed once, with the lifetime `'a` on everything that it borrows. `as function`
/// converts the result of an asynchronous method.
macro_rules! erased {
    ($vis:vis trait $twin:ident: $($bound:path),+; for $of:ident { $($methods:tt)* }) => {
        $vis trait $twin: $($bound +)+ 'static {
            $crate::erased::erased!(@declare $($methods)*);
        }

        impl<T: $of> $twin for T {
            $crate::erased::erased!(@forward $of $($methods)*);
        }
    };

    (@declare) => {};
    (@declare async fn $name:ident(& $this:ident $(, $arg:ident: $ty:ty)*) -> $out:ty
        $(as $with:path)?; $($rest:tt)*) => {
        fn $name<'a>(&'a $this $(, $arg: $ty)*) -> $crate::erased::BoxFuture<'a, $out>;
        $crate::erased::erased!(@declare $($rest)*);
    };
    (@declare async fn $name:ident(&mut $this:ident $(, $arg:ident: $ty:ty)*) -> $out:ty;
        $($rest:tt)*) => {
        fn $name<'a>(&'a mut $this $(, $arg: $ty)*) -> $crate::erased::BoxFuture<'a, $out>;
        $crate::erased::erased!(@declare $($rest)*);
    };
    (@declare async fn $name:ident(Box $this:ident) -> $out:ty; $($rest:tt)*) => {
        fn $name($this: Box<Self>) -> $crate::erased::BoxFuture<'static, $out>;
        $crate::erased::erased!(@declare $($rest)*);
    };
    (@declare fn $name:ident(& $this:ident $(, $arg:ident: $ty:ty)+) -> $out:ty as $with:path;
        $($rest:tt)*) => {
        fn $name(&$this $(, $arg: $ty)+) -> $out;
        $crate::erased::erased!(@declare $($rest)*);
    };
    (@declare fn $name:ident(& $this:ident) -> $out:ty; $($rest:tt)*) => {
        fn $name(&$this) -> $out;
        $crate::erased::erased!(@declare $($rest)*);
    };
    (@declare fn $name:ident(&mut $this:ident) -> $out:ty; $($rest:tt)*) => {
        fn $name(&mut $this) -> $out;
        $crate::erased::erased!(@declare $($rest)*);
    };

    (@forward $of:ident) => {};
    (@forward $of:ident async fn $name:ident(& $this:ident $(, $arg:ident: $ty:ty)*) -> $out:ty;
        $($rest:tt)*) => {
        fn $name<'a>(&'a $this $(, $arg: $ty)*) -> $crate::erased::BoxFuture<'a, $out> {
            Box::pin($of::$name($this $(, $arg)*))
        }
        $crate::erased::erased!(@forward $of $($rest)*);
    };
    (@forward $of:ident async fn $name:ident(& $this:ident $(, $arg:ident: $ty:ty)*) -> $out:ty
        as $with:path; $($rest:tt)*) => {
        fn $name<'a>(&'a $this $(, $arg: $ty)*) -> $crate::erased::BoxFuture<'a, $out> {
            Box::pin(async move { $of::$name($this $(, $arg)*).await.map($with) })
        }
        $crate::erased::erased!(@forward $of $($rest)*);
    };
    (@forward $of:ident async fn $name:ident(&mut $this:ident $(, $arg:ident: $ty:ty)*)
        -> $out:ty; $($rest:tt)*) => {
        fn $name<'a>(&'a mut $this $(, $arg: $ty)*) -> $crate::erased::BoxFuture<'a, $out> {
            Box::pin($of::$name($this $(, $arg)*))
        }
        $crate::erased::erased!(@forward $of $($rest)*);
    };
    (@forward $of:ident async fn $name:ident(Box $this:ident) -> $out:ty; $($rest:tt)*) => {
        fn $name($this: Box<Self>) -> $crate::erased::BoxFuture<'static, $out> {
            Box::pin($of::$name(*$this))
        }
        $crate::erased::erased!(@forward $of $($rest)*);
    };
    (@forward $of:ident fn $name:ident(& $this:ident $(, $arg:ident: $ty:ty)+) -> $out:ty
        as $with:path; $($rest:tt)*) => {
        fn $name(&$this $(, $arg: $ty)+) -> $out {
            $of::$name($this $(, $arg)+).map($with)
        }
        $crate::erased::erased!(@forward $of $($rest)*);
    };
    (@forward $of:ident fn $name:ident(& $this:ident) -> $out:ty; $($rest:tt)*) => {
        fn $name(&$this) -> $out {
            $of::$name($this)
        }
        $crate::erased::erased!(@forward $of $($rest)*);
    };
    (@forward $of:ident fn $name:ident(&mut $this:ident) -> $out:ty; $($rest:tt)*) => {
        fn $name(&mut $this) -> $out {
            $of::$name($this)
        }
        $crate::erased::erased!(@forward $of $($rest)*);
    };
}

pub(crate) use erased;
