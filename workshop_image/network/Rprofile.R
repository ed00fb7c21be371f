
# Visitors install packages where they may write.
local({
    own <- Sys.getenv("R_LIBS_USER")
    if (nzchar(own) && (dir.exists(own) || dir.create(own, FALSE, TRUE))) .libPaths(c(own, .libPaths()))
})

# Without a network R says so at once, instead of naming a host or calling a package unavailable: these wrap the
# functions by which R, and the package curl, fetch packages and files.
if (Sys.getenv("TMPNB_EGRESS") == "none") local({
    about <- "This notebook has no network: nothing outside of it can be reached."
    packages <- paste(
        "This notebook has no network, so that packages cannot be installed.",
        "What is there: rownames(installed.packages())"
    )
    outside <- "^(https?|ftps?)://(?!localhost|127[.]|\\[::1\\])"
    guard <- function(places, name, argument, text = about) {
        guarded <- get(name, places[[1]])
        body(guarded) <- bquote({
            if (is.character(.(as.name(argument))) && any(grepl(.(outside), .(as.name(argument)), perl = TRUE)))
                stop(.(text), call. = FALSE)
            .(body(guarded))
        })
        for (place in places) {
            unlockBinding(name, place)
            assign(name, guarded, place)
            lockBinding(name, place)
        }
    }
    for (name in c("file", "url")) guard(list(baseenv()), name, "description")
    setHook(packageEvent("utils", "attach"), function(...) {
        places <- list(asNamespace("utils"), as.environment("package:utils"))
        guard(places, "available.packages", "contriburl", packages)
        guard(places, "download.file", "url")
    })
    setHook(packageEvent("curl", "onLoad"), function(...) {
        functions <- c("curl", "curl_download", "curl_fetch_disk", "curl_fetch_memory", "curl_fetch_stream")
        for (name in functions) guard(list(asNamespace("curl")), name, "url")
    })
})
