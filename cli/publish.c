#include "cli/publish.h"

#include "cli/places.h"

#include <stdio.h>
#include <unistd.h>

#define NODE (&csi__v1__node__descriptor)
#define CONTROLLER (&csi__v1__controller__descriptor)

/* The maps of CSI's messages have types of their own, but one form; what is sent is the same. */
#define SAME_MAP(request, field, entries, count) ((request).field = (void *)(entries), (request).n_##field = (count))

static const char *node_id(struct session *session, struct error *error)
{
    Csi__V1__NodeGetInfoRequest request = CSI__V1__NODE_GET_INFO_REQUEST__INIT;
    const Csi__V1__NodeGetInfoResponse *info =
        session_call(session, NODE, "NodeGetInfo", &request, "asking for the node", error);
    return info != NULL ? info->node_id : NULL;
}

/* The state of one publish: what earlier calls gave to later ones. */
struct steps {
    struct publication *publication;
    const Csi__V1__Volume *volume;                            /* or NULL, if the driver does not tell */
    const Csi__V1__ControllerPublishVolumeResponse *attached; /* or NULL */
    Csi__V1__VolumeCapability *capability;
    bool staged; /* the driver stages */
    bool made;   /* we made the staging directory */
};

static bool attach(struct session *session, struct steps *steps, struct error *error)
{
    Csi__V1__ControllerPublishVolumeRequest request = CSI__V1__CONTROLLER_PUBLISH_VOLUME_REQUEST__INIT;
    if (!session_controller_can(session, CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__PUBLISH_UNPUBLISH_VOLUME))
        return true;
    request.volume_id = (char *)steps->publication->id;
    request.node_id = (char *)node_id(session, error);
    request.volume_capability = steps->capability;
    if (steps->volume != NULL)
        SAME_MAP(request, volume_context, steps->volume->volume_context, steps->volume->n_volume_context);
    if (request.node_id == NULL)
        return false;
    steps->attached = session_call(session, CONTROLLER, "ControllerPublishVolume", &request, "attaching", error);
    return steps->attached != NULL;
}

static bool detach(struct session *session, const char *id, struct error *error)
{
    Csi__V1__ControllerUnpublishVolumeRequest request = CSI__V1__CONTROLLER_UNPUBLISH_VOLUME_REQUEST__INIT;
    if (!session_controller_can(session, CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__PUBLISH_UNPUBLISH_VOLUME))
        return true;
    request.volume_id = (char *)id;
    request.node_id = (char *)node_id(session, error);
    return request.node_id != NULL &&
           session_call(session, CONTROLLER, "ControllerUnpublishVolume", &request, "detaching", error) != NULL;
}

static bool stage(struct session *session, struct steps *steps, struct error *error)
{
    struct publication *publication = steps->publication;
    Csi__V1__NodeStageVolumeRequest request = CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;
    steps->staged = session_node_can(session, CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__STAGE_UNSTAGE_VOLUME);
    if (!steps->staged)
        return true;
    if (!place_make_staging(publication->staging, &steps->made, error))
        return false;
    request.volume_id = (char *)publication->id;
    request.staging_target_path = publication->staging;
    request.volume_capability = steps->capability;
    if (steps->volume != NULL)
        SAME_MAP(request, volume_context, steps->volume->volume_context, steps->volume->n_volume_context);
    if (steps->attached != NULL)
        SAME_MAP(request, publish_context, steps->attached->publish_context, steps->attached->n_publish_context);
    return session_call(session, NODE, "NodeStageVolume", &request, "staging", error) != NULL;
}

static bool publish(struct session *session, struct steps *steps, struct error *error)
{
    struct publication *publication = steps->publication;
    Csi__V1__NodePublishVolumeRequest request = CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__INIT;
    request.volume_id = (char *)publication->id;
    request.target_path = publication->target;
    request.volume_capability = steps->capability;
    request.readonly = publication->read_only;
    if (steps->staged)
        request.staging_target_path = publication->staging;
    if (steps->volume != NULL)
        SAME_MAP(request, volume_context, steps->volume->volume_context, steps->volume->n_volume_context);
    if (steps->attached != NULL)
        SAME_MAP(request, publish_context, steps->attached->publish_context, steps->attached->n_publish_context);
    return session_call(session, NODE, "NodePublishVolume", &request, "publishing", error) != NULL;
}

static bool unstage(struct session *session, const char *id, const char *staging, struct error *error)
{
    Csi__V1__NodeUnstageVolumeRequest request = CSI__V1__NODE_UNSTAGE_VOLUME_REQUEST__INIT;
    if (!session_node_can(session, CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__STAGE_UNSTAGE_VOLUME))
        return true;
    request.volume_id = (char *)id;
    request.staging_target_path = (char *)staging;
    if (session_call(session, NODE, "NodeUnstageVolume", &request, "unstaging", error) == NULL)
        return false;
    rmdir(staging); /* not empty or not there: it is not ours */
    return true;
}

bool publish_staging(struct session *session, struct publication *publication, struct error *error)
{
    Csi__V1__GetPluginInfoRequest request = CSI__V1__GET_PLUGIN_INFO_REQUEST__INIT;
    const Csi__V1__GetPluginInfoResponse *info = session_call(session, &csi__v1__identity__descriptor, "GetPluginInfo",
                                                              &request, "asking for the driver's name", error);
    return info != NULL && place_staging(info->name, publication->id, publication->staging, error);
}

/* Finds out what the driver says of the volume.  One that tells nothing of its volumes may be right. */
static bool inspect(struct session *session, struct steps *steps, struct error *error)
{
    struct publication *publication = steps->publication;
    const Csi__V1__ControllerGetVolumeResponse *found = csi_get_volume(session, publication->id, error);
    if (found == NULL && error->code != UNIMPLEMENTED)
        return false;
    steps->volume = found != NULL ? found->volume : NULL;
    volume_access(steps->volume, &publication->access);
    steps->capability = access_capability(session, &publication->access);
    return true;
}

bool publish_volume(struct session *session, struct publication *publication, struct error *error)
{
    struct steps steps = {.publication = publication};
    struct error second;
    if (!inspect(session, &steps, error) || !attach(session, &steps, error))
        return false;
    if (stage(session, &steps, error) && publish(session, &steps, error))
        return true;
    /* A staging directory that was there before may serve another target. */
    if (steps.made && (!unstage(session, publication->id, publication->staging, &second) ||
                       !detach(session, publication->id, &second)))
        fail_context(error, "(and it is still staged at %s: %.200s)", publication->staging, second.message);
    return false;
}

bool unpublish_volume(struct session *session, const struct publication *publication, char elsewhere[static PATH_MAX],
                      struct error *error)
{
    struct mounted mounted;
    bool known = place_mounted(publication->target, &mounted);
    Csi__V1__NodeUnpublishVolumeRequest request = CSI__V1__NODE_UNPUBLISH_VOLUME_REQUEST__INIT;
    request.volume_id = (char *)publication->id;
    request.target_path = (char *)publication->target;
    elsewhere[0] = '\0';
    if (session_call(session, NODE, "NodeUnpublishVolume", &request, "unpublishing", error) == NULL)
        return false;
    if (known && place_elsewhere(&mounted, publication->staging, elsewhere))
        return true;
    return unstage(session, publication->id, publication->staging, error) && detach(session, publication->id, error);
}
